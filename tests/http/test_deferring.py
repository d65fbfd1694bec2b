"""What reads and writes a route's values is built when it is first asked for, not at the start."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.routing import APIRoute

import folkmoot.server.routes  # noqa: F401 - from here on routes are made so
from folkmoot.server.wire.blocks import CreateBlock


class Doubled(CreateBlock):
    """A body whose model nothing has asked for yet; no warning may come of building it late."""


def test_a_routes_parameters_and_answer_are_built_when_first_used() -> None:
    router = APIRouter()

    @router.post("/doubled")
    async def doubled(number: int, body: Annotated[Doubled, Body(alias="block")]) -> dict[str, int]:
        return {"doubled": 2 * number, body.label: 0}

    (route,) = router.routes
    assert isinstance(route, APIRoute)
    (parameter,), body, answer = route.dependant.query_params, route.body_field, route.response_field
    assert body is not None
    assert answer is not None
    assert "_type_adapter" not in vars(parameter) | vars(body) | vars(answer)

    assert parameter.validate("7", loc=("query", "number")) == (7, [])
    assert parameter.validate("x", loc=("query", "number"))[1][0]["loc"] == ("query", "number")
    assert answer.serialize_json({"doubled": 14}) == b'{"doubled":14}'
    read, problems = body.validate({"label": "human", "value": "Ada"}, loc=("body",))
    assert (read.label, problems) == ("human", [])
    assert "_type_adapter" in vars(parameter)


def test_a_bodys_model_is_built_when_first_used() -> None:
    class Fresh(CreateBlock):
        """A request that nothing has asked for yet."""

    assert not Fresh.__pydantic_complete__
    assert Fresh.model_validate({"label": "human", "value": "Ada"}).label == "human"
    assert Fresh.__pydantic_complete__
