"""Routes as records beside their handlers: who may, what is taken and given, which errors.

From these records come the routes of the application, ``/openapi.json`` and who is admitted.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiohttp import web

from server.auth.access import May
from server.errors import (
    BadRequest,
    Forbidden,
    LocalOnly,
    OriginRefused,
    RateLimited,
    ServerError,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
)

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Content:
    """A body: its type, as JSON unless ``media_type`` says otherwise. None is an empty body."""

    kind: Any = None
    media_type: str = JSON


NOTHING: Final = Content()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API."""

    method: str
    path: str  # as aiohttp has it
    handler: Handler
    may: May
    query: type | None = None
    body: Content | None = None
    also: tuple[Content, ...] = ()  # other bodies that it takes
    answer: Content = NOTHING
    status: int = 200
    errors: tuple[type[ServerError], ...] = ()
    documented: bool = True

    @property
    def canonical(self) -> str:
        """The path without patterns, which names its resource."""
        return re.sub(r":[^}]*}", "}", self.path)

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0].rstrip(".")

    def refusals(self) -> list[type[ServerError]]:
        """Every error that it answers with: its own, and those of admission and of bodies."""
        found: list[type[ServerError]] = [LocalOnly, OriginRefused, RateLimited]
        if self.may is not May.ANYBODY:
            found += [Unauthorized, Forbidden]
        if self.body is not None:
            found += [BadRequest, TooLarge, UnsupportedMediaType]
        if self.query is not None:
            found += [BadRequest]
        return list(dict.fromkeys([*found, *self.errors]))


class RouteTable:
    """The routes of one module, listed by a decorator."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def __call__(
        self, method: str, path: str | tuple[str, ...], may: May, **about: Any
    ) -> Callable[[H], H]:
        """Lists the handler under this method and path, or paths; ``about`` is the rest of
        ``Route``."""
        paths = (path,) if isinstance(path, str) else path

        def listed(handler: H) -> H:
            self.routes += [Route(method, each, handler, may, **about) for each in paths]
            return handler

        return listed


class Routes:
    """Every route of the application."""

    def __init__(self, tables: Iterable[RouteTable]) -> None:
        self.all = [route for table in tables for route in table.routes]
        self._known = {(route.method, route.canonical): route for route in self.all}

    def find(self, method: str, canonical: str) -> Route | None:
        """The route of a resource; ``HEAD`` is that of ``GET``."""
        return self._known.get(("GET" if method == "HEAD" else method, canonical))

    def asked(self, method: str, canonical: str | None) -> May:
        """Who may use it: operators where nobody listed it. None is a path that leads nowhere."""
        if canonical is None:
            return May.ANYBODY
        route = self.find(method, canonical)
        return May.ADMINISTER if route is None else route.may

    def aiohttp(self) -> list[web.RouteDef]:
        """For ``web.Application.add_routes``."""
        return [
            web.get(route.path, route.handler)
            if route.method == "GET"
            else web.route(route.method, route.path, route.handler)
            for route in self.all
        ]
