"""``/openapi.json``: docs/protocol.md for machines. Pure."""

from __future__ import annotations

from typing import Any

from server import __version__
from server.rtc.data_channel import MAX_PROMPT

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


def document() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Continuum", "version": __version__},
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "session": {"type": "http", "scheme": "bearer"},
                "key": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {
                "Problem": _PROBLEM,
                "NewSession": _NEW_SESSION,
                "NewToken": _NEW_TOKEN,
            },
        },
    }


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
}
_NEW_SESSION = {
    "type": "object",
    "required": ["avatar"],
    "properties": {
        "avatar": {"type": "string"},
        "prompt": {"type": "string", "maxLength": MAX_PROMPT},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "measure": {"type": "boolean"},
    },
}
_NEW_TOKEN = {
    "type": "object",
    "required": ["origin"],
    "properties": {
        "origin": {"type": "string"},
        "avatar": {"type": "string"},
        "ttl_s": {"type": "integer", "minimum": 10},
    },
}
_PROBLEM_ANSWER = {
    "description": "a problem",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def _paths() -> dict[str, Any]:
    session = "/v1/sessions/{session}"
    peer = [_inside("session"), _inside("peer")]
    ours = {"security": [{"session": []}], "parameters": [_inside("session")]}
    return {
        "/v1/calls": {"post": _door("Call an avatar", _call_parameters())},
        "/v1/sessions": {"post": _operation("Make a session", 201, _json_body("NewSession"))},
        "/v1/tokens": {
            "post": _operation("A token for a browser", 201, _json_body("NewToken"))
            | {"security": [{"key": []}]}
        },
        session: {
            **ours,
            "get": _operation("State, media time, latency by stage"),
            "delete": _operation("End the session"),
            "patch": _operation("Trickle the caller's candidates", 204, _body(FRAGMENT)),
        },
        f"{session}/recording": {
            **ours,
            "post": _operation("Record the session", 201),
            "get": _operation("The recording in progress"),
            "delete": _operation("End the recording"),
        },
        **{f"{session}/{role}": {**ours, "post": _door(text)} for role, text in _DOORS.items()},
        **{
            f"{session}/{role}/{{peer}}": {
                **ours,
                "parameters": peer,
                "patch": _operation("Trickle candidates", 204, _body(FRAGMENT)),
                "delete": _operation("Leave"),
            }
            for role in ("whip", "whep")
        },
        **_plain(),
    }


_DOORS = {"call": "Come back to a session", "whip": "Feed speech", "whep": "Watch"}


def _plain() -> dict[str, Any]:
    avatar = {"parameters": [_inside("avatar")]}
    return {
        "/v1/avatars": {
            "get": _operation("List avatars"),
            "post": _operation("Enrol a picture of one's own", 201, _body("multipart/form-data")),
        },
        "/v1/enrolments": {"post": _operation("A picture's landmarks", 200, _body("image/*"))},
        "/v1/enrolments/preview": {
            "post": _operation("Points, fit, test frames", 200, _body("multipart/form-data"))
        },
        "/v1/avatars/{avatar}": {
            **avatar,
            "get": _operation("One avatar"),
            "delete": _operation("Remove an enrolled avatar", 204) | {"security": [{"key": []}]},
        },
        "/v1/avatars/{avatar}/picture": {**avatar, "get": _operation("Its picture")},
        **_consent(),
        **_recordings(),
        "/healthz": {"get": _operation("What runs, on which device, and why")},
        "/readyz": {"get": _operation("Whether sessions are let in")},
        "/metrics": {"get": _operation("Prometheus text")},
    }


def _recordings() -> dict[str, Any]:
    keys: dict[str, Any] = {"security": [{"key": []}]}
    one = {"parameters": [_inside("recording")], **keys}
    video = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
    fetch = _operation("The file, or with Range a part of it")
    fetch["responses"] |= {
        "200": {"description": "the file", "content": video},
        "206": {"description": "the part asked for", "content": video},
    }
    filters = [
        {"name": "session", "in": "query", "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}},
    ]
    return {
        "/v1/recordings": {
            "get": _operation("Recordings, newest first") | keys | {"parameters": filters}
        },
        "/v1/recordings/{recording}": {
            **one,
            "get": _operation("One recording"),
            "delete": _operation("Delete a recording", 204),
        },
        "/v1/recordings/{recording}/file": {**one, "get": fetch},
    }


def _consent() -> dict[str, Any]:
    record = {"parameters": [_inside("consent")], "security": [{"key": []}]}
    operators: dict[str, Any] = {"security": [{"key": []}]}
    form = {
        "type": "object",
        "required": ["record", "picture"],
        "properties": {
            "record": {"type": "string", "contentMediaType": "application/json"},
            "picture": {"type": "string", "format": "binary"},
            "evidence": {"type": "string", "format": "binary"},
            "signature": {"type": "string", "pattern": "^[0-9a-f]{128}$"},
            "subject_key": {"type": "string"},
        },
    }
    multipart = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return {
        "/v1/consents": {
            "get": _operation("Consent records") | operators,
            "post": _operation("Record consent", 201, multipart) | operators,
        },
        "/v1/consents/{consent}": {
            **record,
            "get": _operation("One consent record"),
            "delete": _operation("Revoke consent"),
        },
        "/v1/consents/{consent}/checks": {
            **record,
            "post": _operation("Enter checks of the evidence", 200, _json_object()),
        },
        "/v1/challenges": {
            "post": _operation("A code for a subject to say", 201, _json_object()) | operators
        },
        "/v1/audit": {"get": _operation("Audit entries, newest or all") | operators},
    }


def _json_object() -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


def _operation(summary: str, status: int = 200, body: dict[str, Any] | None = None) -> Any:
    answers = {str(status): {"description": "done"}, "default": _PROBLEM_ANSWER}
    operation: dict[str, Any] = {"summary": summary, "responses": answers}
    return operation | ({"requestBody": body} if body else {})


def _door(summary: str, parameters: list[Any] | None = None) -> Any:
    answer = {"description": "the SDP answer", "content": {SDP: {"schema": {"type": "string"}}}}
    operation = _operation(summary, 201, _body(SDP))
    operation["responses"]["201"] = answer
    return operation | ({"parameters": parameters} if parameters else {})


def _body(media_type: str) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": {"type": "string"}}}}


def _json_body(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _inside(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _call_parameters() -> list[Any]:
    properties: dict[str, Any] = _NEW_SESSION["properties"]  # type: ignore[assignment]
    return [
        {"name": name, "in": "query", "required": name == "avatar", "schema": schema}
        for name, schema in properties.items()
    ]
