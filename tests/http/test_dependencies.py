"""What routes are given of the request alone comes without FastAPI's search for it, and is the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute

from folkmoot.application import create_app
from folkmoot.server.dependencies import OF_REQUEST, give_directly
from folkmoot.server.state import State
from folkmoot.settings import Settings


def test_no_route_has_fastapi_look_for_what_is_of_the_request() -> None:
    application = create_app(Settings(), {})
    application.build_middleware_stack()
    routes = [route for route in application.router.middleware_stack.all if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    looked_for = [each.call for route in routes for each in route.dependant.dependencies]
    assert not OF_REQUEST.intersection(looked_for)
    given = [route for route in routes if route.dependant.call is not route.endpoint]
    assert len(given) > len(routes) / 2


async def test_an_endpoint_is_given_the_same_whether_it_asks_for_the_request_too_or_not() -> None:
    router = APIRouter()

    @router.get("/without/{number}")
    async def without(number: int, state: State) -> list[Any]:
        return [number, state]

    @router.get("/with")
    async def with_request(state: State, asked: Request, word: str = "none") -> list[Any]:
        return [asked.url.path, state, word]

    searching, direct = FastAPI(), FastAPI()
    searching.include_router(router)
    before = await _answers(searching)
    for route in router.routes:
        assert isinstance(route, APIRoute)
        give_directly(route)
        give_directly(route)  # as for a second application with the same routes
    direct.router.routes += router.routes  # as they are, which `include_router` does not take them
    assert await _answers(direct) == before
    assert before == [
        (200, [7, ["ada", "test/1"]]),
        (200, ["/with", ["ada", "test/1"], "said"]),
        (422, None),
    ]


async def _answers(application: FastAPI) -> list[tuple[int, Any]]:
    application.state.server = SimpleNamespace(of=lambda principal, program: [principal, program])

    async def as_ada(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "principal": "ada"}, receive, send)

    transport = httpx.ASGITransport(as_ada)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"user-agent": "test/1"}) as http:
        answers = [await http.get(path) for path in ("/without/7", "/with?word=said", "/without/seven")]
    return [(answer.status_code, answer.json() if answer.is_success else None) for answer in answers]
