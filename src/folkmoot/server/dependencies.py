"""What routes are given of the request alone, without FastAPI's way to it.

FastAPI looks for the parameters, headers, cookies and scopes of each dependency in each request, which costs more than
what most of ours do: for the server's parts, which nearly every route asks for, a tenth of reading a block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from folkmoot.server.scanning import scanning_of
from folkmoot.server.state import state_of, store_of

OF_REQUEST = frozenset({state_of, store_of, scanning_of})
"""The dependencies that need nothing but the request, and refuse none."""

_REQUEST = "request of the route"
"""How the request is named on its way to an endpoint that does not ask for it: as no parameter can be."""


def give_directly(route: APIRoute) -> None:
    """Let a route's endpoint be given what is in `OF_REQUEST` by a call, in place of a search.

    FastAPI has no setting for it. A test fails when what is used of it here is no longer so.
    """
    dependant = route.dependant
    made = {each.name: each.call for each in dependant.dependencies if each.name and each.call in OF_REQUEST}
    if not made or dependant.call is None:
        return
    dependant.dependencies = [each for each in dependant.dependencies if each.name not in made]
    own = dependant.request_param_name
    dependant.request_param_name = own or _REQUEST
    dependant.call = _given(dependant.call, made, own)


def _given(
    endpoint: Callable[..., Awaitable[Any]], made: Mapping[str, Callable[[Request], Awaitable[Any]]], own: str | None
) -> Callable[..., Awaitable[Any]]:
    makers = tuple(made.items())

    async def call(**values: Any) -> Any:
        request = values[own] if own else values.pop(_REQUEST)
        for name, make in makers:
            values[name] = await make(request)
        return await endpoint(**values)

    return call
