"""Whether what a server answers is what ``/openapi.json`` says of it: same fields, same types."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from server.api.middleware import ROUTES


def differences(kind: Any, value: Any, at: str = "") -> list[str]:
    """Fields of an answer that its type does not have, or lacks, or has in another type."""
    inner, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        each = [differences(one, value, at) for one in inner]
        return min(each, key=len)
    if origin is list and isinstance(value, list):
        return [
            line
            for k, item in enumerate(value)
            for line in differences(inner[0], item, f"{at}[{k}]")
        ]
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
        found = [f"{at}.{name} is not documented" for name in sorted(set(value) - set(hints))]
        found += [f"{at}.{name} is missing" for name in sorted(needed - set(value))]
        known = [(name, hints[name]) for name in value if name in hints]
        return found + [
            x for name, hint in known for x in differences(hint, value[name], f"{at}.{name}")
        ]
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        return [f"{at} is {value!r:.60}: {error.errors()[0]['msg']}"]
    return []


class Documented:
    """Listens to an application; ``wrong`` are answers that are not as documented."""

    def __init__(self, app: web.Application) -> None:
        self.wrong: list[str] = []
        app.on_response_prepare.append(self._look)

    async def _look(self, request: web.Request, response: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        route = resource and request.app[ROUTES].find(request.method, resource.canonical)
        if not route or response.status != route.status or not isinstance(response, web.Response):
            return
        if response.content_type != "application/json" or route.answer.kind in (None, Any):
            return
        lines = differences(route.answer.kind, json.loads(response.text or "null"))
        self.wrong += [f"{route.method} {route.canonical}{line}" for line in lines]
