"""``/openapi.json``: the protocol for machines, from the routes' own records. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from typing import Any, Final

from pydantic import TypeAdapter

from server import __version__
from server.api.answers import Problem
from server.api.routes import Content, Route
from server.api.validation import adapter
from server.auth.access import May
from server.errors import ServerError

PROBLEM: Final = Content(Problem, "application/problem+json")
_REF: Final = "#/components/schemas/{model}"


class Schemas:
    """The JSON schemas of every type that a route names, and the components they refer to."""

    def __init__(self, routes: Iterable[Route]) -> None:
        kinds = dict.fromkeys([Problem, *(kind for route in routes for kind in _kinds(route))])
        wanted = [(kind, "validation", adapter(kind)) for kind in kinds]
        found, rest = TypeAdapter.json_schemas(wanted, ref_template=_REF)  # type: ignore[arg-type]
        self._found = {kind: schema for (kind, _), schema in found.items()}
        self.components: dict[str, Any] = rest.get("$defs", {})

    def of(self, kind: Any) -> dict[str, Any]:
        """A type's schema, most often a reference."""
        return self._found[kind]

    def parameters(self, query: type | None) -> Iterator[dict[str, Any]]:
        """A query's fields, each with a schema of its own."""
        if query is None:
            return
        properties = self.components[query.__name__]["properties"]
        for field in fields(query):
            yield {
                "name": field.name,
                "in": "query",
                "required": field.default is MISSING,
                "schema": properties[field.name],
            }


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 document of these routes."""
    shown = [route for route in routes if route.documented]
    schemas = Schemas(shown)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in shown:
        paths[route.canonical][route.method.lower()] = _operation(route, schemas)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Continuum", "version": __version__},
        "paths": dict(paths),
        "components": {
            "securitySchemes": {"session": bearer, "key": bearer},
            "schemas": schemas.components,
        },
    }


def _kinds(route: Route) -> Iterator[Any]:
    bodies = [route.body, *route.also, route.answer]
    yield from (body.kind for body in bodies if body is not None and body.kind is not None)
    if route.query is not None:
        yield route.query


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    inside = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.canonical)
    ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": _security(route.may),
        "responses": _responses(route, schemas),
    }
    if parameters := [*inside, *schemas.parameters(route.query)]:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {
            kind: of
            for body in (route.body, *route.also)
            for kind, of in _content(body, schemas).items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(may: May) -> list[dict[str, list[str]]]:
    if may is May.ANYBODY:
        return []
    return [{"session": []}, {"key": []}] if may is May.OWN else [{"key": []}]


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "done"}
    if route.answer.kind is not None:
        done["content"] = _content(route.answer, schemas)
    return {str(route.status): done, **_problems(route.refusals(), schemas)}


def _problems(refusals: Iterable[type[ServerError]], schemas: Schemas) -> dict[str, Any]:
    """By status: which problems it may be. ``default`` is any that nobody foresaw."""
    texts: dict[str, list[str]] = defaultdict(list)
    for error in sorted(refusals, key=lambda error: error.type):
        texts[str(error.status)].append(f"{error.type}: {error.title}")
    texts["default"] = ["any other problem"]
    content = _content(PROBLEM, schemas)
    return {
        status: {"description": "; ".join(said), "content": content}
        for status, said in sorted(texts.items())
    }


def _content(content: Content, schemas: Schemas) -> dict[str, Any]:
    return {content.media_type: {"schema": schemas.of(content.kind)}}
