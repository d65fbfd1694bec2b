"""A request's route is the one that trying all routes in their order would find.

But for a line break at the end of a path, which Starlette overlooks: such a path belongs to no route.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import BaseRoute, Match

from folkmoot.application import create_app
from folkmoot.server import routing
from folkmoot.server.routing import RoutesByShape
from folkmoot.settings import Settings


@cache
def routes() -> RoutesByShape:
    application = create_app(Settings(), {})
    application.build_middleware_stack()
    found = application.router.middleware_stack
    assert isinstance(found, RoutesByShape)
    return found


def templates() -> list[str]:
    return sorted({route.path for route in routes().all})


def matching(candidates: tuple[BaseRoute, ...], method: str, path: str) -> list[tuple[BaseRoute, Match]]:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    found = [(route, route.matches(dict(scope))[0]) for route in candidates]
    return [(route, match) for route, match in found if match != Match.NONE]


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Return a route's path, its parameters filled in, often by another route's word, and perhaps one part changed."""
    words = sorted({word for template in templates() for word in template.split("/")})
    part = st.one_of(st.sampled_from(words), st.text("ab{}*.%/", max_size=3))
    parts = draw(st.sampled_from(templates())).split("/")
    filled = [draw(part) if "{" in each else each for each in parts]
    if draw(st.booleans()):
        filled[draw(st.integers(0, len(filled) - 1))] = draw(part)
    return "/".join(filled)


@given(paths(), st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))
def test_the_routes_of_a_shape_are_all_that_match(path: str, method: str) -> None:
    known = routes()
    assert matching(tuple(known.candidates(path)), method, path) == matching(known.all, method, path)


def test_shapes_that_nobody_asks_for_twice_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MOST_SHAPES", 5)
    known = RoutesByShape(routes().router, routes().all)
    for length in range(20):
        assert known.candidates("/v1" + "/x" * length) is not None
    assert len(known.shapes) == 5
    assert {route.path for route in known.candidates("/v1/health")} == {"/v1/health"}  # type: ignore[attr-defined]
