"""Request bodies, read once and up to a limit: text, JSON objects, raw bytes, multipart forms."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar, get_type_hints

from aiohttp import BodyPartReader, web

from server.api.middleware import SETTINGS
from server.api.routes import FORM, JSON
from server.api.validation import parse
from server.errors import BadRequest, TooLarge, UnsupportedMediaType

T = TypeVar("T")
CHUNK: Final = 64 * 1024


async def read_bytes(request: web.Request, limit: int, name: str = "The body") -> bytes:
    """The whole body. Raises ``TooLarge`` before more than ``limit`` bytes are kept."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"{name} may have {limit} bytes, not {request.content_length}.")
    return await _bounded(request.content.read, limit, name)


async def read_text(request: web.Request, media_type: str, limit: int, accept: str) -> str:
    """The body, if it is UTF-8 of this type and size; ``accept`` names the header that says so."""
    if request.content_type != media_type:
        error = UnsupportedMediaType(f"Send {media_type}, not {request.content_type}.")
        error.headers[accept] = media_type
        raise error
    try:
        return (await read_bytes(request, limit)).decode()
    except UnicodeDecodeError as failure:
        raise BadRequest("The body is not UTF-8.") from failure


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as one JSON object."""
    limit = request.app[SETTINGS].json_bytes
    return parse_object(await read_text(request, JSON, limit, "Accept-Post"))


def parse_object(text: str | bytes) -> dict[str, Any]:
    """One JSON object. Raises ``BadRequest``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise BadRequest(f"This is not JSON: {failure}") from failure
    if not isinstance(content, dict):
        raise BadRequest(
            f'Send one JSON object, such as {{"avatar": "mira"}}, not {type(content).__name__}.'
        )
    return content


async def read_json(request: web.Request, kind: type[T]) -> T:
    """The body as the dataclass that describes it."""
    return parse(kind, await read_object(request))


async def read_form(request: web.Request, kind: type[T], limits: Mapping[str, int]) -> T:
    """A multipart form as a dataclass of bytes and texts, no field longer than its limit."""
    if request.content_type != FORM:
        raise UnsupportedMediaType(f"Send {FORM}, not {request.content_type}.")
    form: dict[str, bytes] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or (name := part.name or "") not in limits:
                raise BadRequest(f"Fields are {', '.join(limits)}.")
            form[name] = await _bounded(part.read_chunk, limits[name], name)
    except ValueError as failure:
        raise BadRequest(f"The form cannot be read: {failure}") from failure
    needed = [field.name for field in fields(kind) if field.default is MISSING]  # type: ignore[arg-type]
    if missing := [name for name in needed if not form.get(name)]:
        raise BadRequest(f"The form lacks {', '.join(missing)}.")
    texts = {name for name, hint in get_type_hints(kind).items() if hint is str}
    return kind(**{n: v.decode("utf-8", "replace") if n in texts else v for n, v in form.items()})


async def _bounded(read: Callable[[int], Awaitable[bytes]], limit: int, name: str) -> bytes:
    data = bytearray()
    while chunk := await read(CHUNK):
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"{name} may have {limit} bytes.")
    return bytes(data)
