"""Every route of the application, however it was added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

from folkmoot.application import create_app
from folkmoot.settings import Settings


@cache
def described() -> dict[str, dict[str, Any]]:
    """Return the operations that the application describes, by path and method; made once, since it takes seconds."""
    paths: dict[str, dict[str, Any]] = create_app(Settings(), {}).openapi()["paths"]
    return paths


def walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield method and path of every route there is, mounted and included ones too."""
    for route in routes:
        if isinstance(route, Mount):
            yield from (("GET", f"{prefix}{route.path}{rest}") for rest in ("", "/", "/x"))
            yield from walk(route.routes, prefix + route.path)
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from walk(included.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        else:
            assert isinstance(route, Route), f"teach this test to walk {route!r}"
            yield from ((method, prefix + route.path) for method in route.methods or ())
