"""Consent and audit over HTTP (docs/protocol.md, section 12), for operators.

Blocking work runs on a thread. Pictures and evidence are read up to a limit and never written to
disk unencrypted. Pictures are decoded in a separate process, because uploaded files are untrusted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Final, TypeVar

from aiohttp import BodyPartReader, web
from PIL import Image

from pipeline.consent import ConsentRecord, Kind, Outcome, Registry, Scope, sha256_of
from pipeline.consent.audit import Filter
from pipeline.consent.records import describe, new_record
from pipeline.consent.signed_challenge import signed
from pipeline.consent.vault import MAX_BLOB
from pipeline.errors import ConsentError, ConsentMissing, PictureError, RegistryUnavailable
from pipeline.media.image_file import Bounds, hashed
from pipeline.media.image_sandbox import load_picture
from server.api.links import link
from server.api.middleware import MANAGER, SETTINGS, UPLOADS, respond, text
from server.auth.access import CALLER
from server.errors import (
    BadRequest,
    ConsentRefused,
    NotReady,
    PictureRefused,
    RegistryDown,
    TooLarge,
    UnknownConsent,
    UnsupportedMediaType,
)

T = TypeVar("T")
MAX_PAGE: Final = 1000
_TEXTS: Final = ("subject", "statement", "verified_by", "territory", "challenge")
_TIMES: Final = ("expires_at", "captured_at")


def routes() -> list[web.RouteDef]:
    """Every route of consent and audit."""
    return [
        web.get("/v1/consents", listing),
        web.post("/v1/consents", add),
        web.post("/v1/challenges", challenge),
        web.get("/v1/consents/{consent}", one),
        web.delete("/v1/consents/{consent}", revoke),
        web.post("/v1/consents/{consent}/checks", verify),
        web.get("/v1/audit", audit),
    ]


async def listing(request: web.Request) -> web.Response:
    """``GET /v1/consents``: every record, or those of one subject or picture."""
    records = await _do(request, lambda registry: registry.all())
    wanted = {name: request.query.get(name, "") for name in ("subject", "image_sha256")}
    shown = [r for r in records if all(not v or getattr(r, k) == v for k, v in wanted.items())]
    return respond({"consents": [describe(r, _registry(request).clock()) for r in shown]})


async def one(request: web.Request) -> web.Response:
    """``GET /v1/consents/{id}``."""
    name = request.match_info["consent"]
    record = await _do(request, lambda registry: registry.get(name))
    return respond(describe(record, _registry(request).clock()))


async def add(request: web.Request) -> web.Response:
    """``POST /v1/consents``: the record as JSON, the picture, and perhaps evidence."""
    form = await _form(request)
    draft = _draft(form.get("record", b""), form["picture"], _registry(request).clock())
    actor, evidence = _actor(request), form.get("evidence")
    if "signature" in form or "subject_key" in form:
        if evidence is not None:
            raise BadRequest("A challenge is spoken or signed: send evidence or a signature.")
        with _translated():
            draft, evidence = _signed(draft, form)
    bounds = request.app[SETTINGS].bounds()

    def write(registry: Registry) -> ConsentRecord:
        picture = form["picture"]
        shown = Image.fromarray(load_picture(hashed(picture, bounds=Bounds(*bounds))).pixels)
        return registry.add(draft, picture=picture, shown=shown, evidence=evidence, actor=actor)

    with _translated():  # on threads of their own, which decode what strangers send
        record = await request.app[UPLOADS].run(write, _registry(request))
    location = {"Location": link(request, f"/v1/consents/{record.id}")}
    return respond(describe(record, _registry(request).clock()), 201, location)


async def challenge(request: web.Request) -> web.Response:
    """``POST /v1/challenges``: a code for a subject to say."""
    body, actor = await _json(request), _actor(request)
    subject = _expect(body, "subject", str)
    seconds = float(_expect(body, "lifetime_s", (int, float), 3600))
    issued = await _do(
        request,
        lambda registry: registry.challenges.issue(subject, actor=actor, lifetime_s=seconds),
    )
    return respond(
        {"code": issued.code, "subject": issued.subject, "expires_at": issued.expires_at}, 201
    )


async def verify(request: web.Request) -> web.Response:
    """``POST /v1/consents/{id}/checks``: how checks of the evidence ended, and by whom."""
    body, actor, name = await _json(request), _actor(request), request.match_info["consent"]
    by = _expect(body, "by", str)
    outcomes = {
        key: _one_of(Outcome, key, value) for key, value in body.items() if key not in ("by",)
    }
    record = await _do(request, lambda registry: registry.verify(name, outcomes, by, actor=actor))
    return respond(describe(record, _registry(request).clock()))


async def revoke(request: web.Request) -> web.Response:
    """``DELETE /v1/consents/{id}``: withdraws consent; what runs ends within a second."""
    name, actor = request.match_info["consent"], _actor(request)
    reason = request.query.get("reason", "")[:500]
    record = await _do(request, lambda registry: registry.revoke(name, actor=actor, reason=reason))
    return respond(describe(record, _registry(request).clock()))


async def audit(request: web.Request) -> web.StreamResponse:
    """``GET /v1/audit``: the newest entries that fit, oldest first; ``format=jsonl`` for all."""
    wanted = _filter(request.query)
    if request.query.get("format") == "jsonl":
        return await _export(request, wanted)
    limit = int(_number(request.query, "limit", 100))
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit must be in 1..{MAX_PAGE}, got {limit}.")
    entries = await _do(request, lambda registry: list(registry.log.entries(wanted, limit)))
    return respond({"entries": [entry.describe() for entry in entries]})


async def _export(request: web.Request, wanted: Filter) -> web.StreamResponse:
    entries = _registry(request).log.entries(wanted)
    page = await _do(request, lambda _: _lines(entries))  # what fails, fails before it begins
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    while page:
        await response.write(page)
        page = await asyncio.to_thread(_lines, entries)
    await response.write_eof()
    return response


def _lines(entries: Iterator[Any]) -> bytes:
    return "".join(entry.line() + "\n" for entry in islice(entries, MAX_PAGE)).encode()


# -- what is asked -------------------------------------------------------------------------------


def _registry(request: web.Request) -> Registry:
    monitor = request.app[MANAGER].monitor
    if monitor is None:
        raise NotReady("This server has no consent registry.", retry_after_s=30)
    return monitor.registry


async def _do(request: web.Request, work: Callable[[Registry], T]) -> T:
    registry = _registry(request)
    with _translated():
        return await asyncio.to_thread(work, registry)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RegistryUnavailable as failure:
        raise RegistryDown(str(failure), code=failure.code) from failure
    except ConsentMissing as failure:
        raise UnknownConsent(str(failure), code=failure.code) from failure
    except PictureError as failure:
        raise PictureRefused(str(failure), code=failure.code) from failure
    except ConsentError as failure:
        raise ConsentRefused(str(failure), code=failure.code) from failure


def _actor(request: web.Request) -> str:
    return request[CALLER].actor


async def _json(request: web.Request) -> dict[str, Any]:
    limit = request.app[SETTINGS].json_bytes
    return _object(await text(request, "application/json", limit, "Accept"))


def _object(raw: str | bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as failure:
        raise BadRequest(f"This is not JSON: {failure}") from failure
    if not isinstance(body, dict):
        raise BadRequest(f"Send one JSON object, not {type(body).__name__}.")
    return body


def _expect(body: Mapping[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    value = body.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadRequest(f"{name!r} is missing or of the wrong type.")
    return value


def _one_of(kind: type[T], name: str, value: object) -> T:
    try:
        return kind(value)  # type: ignore[call-arg]
    except ValueError:
        allowed = ", ".join(map(str, kind))  # type: ignore[call-overload]
        raise BadRequest(f"{name!r} is one of {allowed}, not {value!r:.60}.") from None


def _draft(raw: bytes, picture: bytes, now: float) -> ConsentRecord:
    body = _object(raw)
    known = {*_TEXTS, *_TIMES, "kind", "scopes", "adult", "birth_year"}
    if unknown := sorted(set(body) - known):
        raise BadRequest(f"A record has no {unknown[0]!r:.60}; it has {', '.join(sorted(known))}.")
    scopes = _expect(body, "scopes", list, [Scope.LIVE, Scope.RECORDING])
    texts = {name: _expect(body, name, str, "") for name in _TEXTS}
    times = {name: _expect(body, name, (int, float, type(None))) for name in _TIMES}
    with _translated():
        record = new_record(
            subject=texts["subject"],
            kind=_one_of(Kind, "kind", body.get("kind")),
            statement=texts["statement"],
            image_sha256=sha256_of(picture),
            scopes=[_one_of(Scope, "scopes", scope) for scope in scopes],
            verified_by=texts["verified_by"] or "operator",
            now=now,
            adult=_expect(body, "adult", bool, False),
            birth_year=_expect(body, "birth_year", (int, type(None))),
            territory=texts["territory"],
            challenge=texts["challenge"],
        )
        return replace(record, **times)


def _signed(draft: ConsentRecord, form: Mapping[str, bytes]) -> tuple[ConsentRecord, bytes]:
    """The draft with its words checked, and the evidence that a signature is."""
    try:
        signature = bytes.fromhex(form.get("signature", b"").decode().strip())
    except ValueError:
        raise BadRequest("The signature is 64 bytes in hex.") from None
    return signed(draft, form.get("subject_key", b""), signature)


async def _form(request: web.Request) -> dict[str, bytes]:
    if request.content_type != "multipart/form-data":
        raise UnsupportedMediaType(f"Send multipart/form-data, not {request.content_type}.")
    settings, out = request.app[SETTINGS], dict[str, bytes]()
    limits = {
        "record": settings.json_bytes,
        "picture": settings.picture_bytes,
        "evidence": MAX_BLOB,
        "signature": 200,
        "subject_key": 2000,
    }
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name not in limits:
                raise BadRequest(f"Fields are {', '.join(limits)}.")
            out[part.name] = await _part(part, limits[part.name])
    except ValueError as failure:
        raise BadRequest(f"The form cannot be read: {failure}") from failure
    missing = [name for name in ("record", "picture") if not out.get(name)]
    if missing:
        raise BadRequest(f"The form lacks {', '.join(missing)}.")
    return out


async def _part(part: BodyPartReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"{part.name} may have {limit} bytes.")
    return bytes(data)


def _filter(query: Mapping[str, str]) -> Filter:
    texts = ("action", "actor", "consent_id", "avatar", "session")
    asked: dict[str, Any] = {name: query.get(name, "") for name in texts}
    asked |= {name: _number(query, name) for name in ("since", "until") if name in query}
    return Filter(**asked, after=int(_number(query, "after", 0)))


def _number(query: Mapping[str, str], name: str, default: float = 0.0) -> float:
    try:
        value = float(query.get(name, default))
    except ValueError:
        raise BadRequest(f"{name} is a number, not {query[name]!r:.60}.") from None
    if not 0 <= value < 1e12:
        raise BadRequest(f"{name} must be in 0..1e12, got {value}.")
    return value
