"""Find a request's route by the words of its path, in place of trying one route after the other.

FastAPI matches a path with every route in turn, and twice over for routers that are included: with some 250 routes more
than half of what reading a block costs. Of a path only the words that stand in some route matter to the choice, and how
many parts it has; all paths that are alike in that, its *shape*, have the same few routes to choose from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import APIRouter
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

MOST_SHAPES = 1000
"""Shapes that are remembered; real requests have fewer than there are routes."""

_ANYTHING = "*"


class RoutesByShape:
    """The innermost ASGI application: sends each request to the routes of its path's shape, in their order."""

    def __init__(self, router: APIRouter, routes: Iterable[Route | Mount]) -> None:
        """Serve `routes` in the place of `router`, which answers where none of them is in question."""
        self.router = router
        self.all = tuple(routes)
        self._words = {word for route in self.all for word in route.path.split("/") if "{" not in word}
        self.shapes: dict[str, APIRouter] = {}
        """The shapes that were asked for, and their routes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] != "http":
            await self.router.app(scope, receive, send)
            return
        scope["router"] = self.router  # knows all routes by name
        await self._of(scope["path"]).app(scope, receive, send)

    def candidates(self, path: str) -> Sequence[BaseRoute]:
        """Return the routes that a path may belong to, in their order."""
        return self._of(path).routes

    def _of(self, path: str) -> APIRouter:
        shape = "/".join(part if part in self._words else _ANYTHING for part in path.split("/"))
        known = self.shapes.get(shape)
        if known is None:
            found: list[BaseRoute] = [route for route in self.all if route.path_regex.match(shape)]
            known = APIRouter(routes=found, redirect_slashes=False, default=self.router.default)
            if len(self.shapes) < MOST_SHAPES:
                self.shapes[shape] = known
        return known
