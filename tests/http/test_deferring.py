"""What reads and writes a route's values is built when it is first asked for, not at the start."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.routing import APIRoute

import folkmoot.server.routes  # noqa: F401 - from here on routes are made so
from folkmoot.server.wire.blocks import CreateBlock


def test_a_routes_parameters_and_answer_are_built_when_first_used() -> None:
    router = APIRouter()

    @router.get("/doubled")
    async def doubled(number: int) -> dict[str, int]:
        return {"doubled": 2 * number}

    (route,) = router.routes
    assert isinstance(route, APIRoute)
    (parameter,), answer = route.dependant.query_params, route.response_field
    assert answer is not None
    assert "_type_adapter" not in vars(parameter) | vars(answer)

    assert parameter.validate("7", loc=("query", "number")) == (7, [])
    assert parameter.validate("x", loc=("query", "number"))[1][0]["loc"] == ("query", "number")
    assert answer.serialize_json({"doubled": 14}) == b'{"doubled":14}'
    assert "_type_adapter" in vars(parameter)


def test_a_bodys_model_is_built_when_first_used() -> None:
    class Fresh(CreateBlock):
        """A request that nothing has asked for yet."""

    assert not Fresh.__pydantic_complete__
    assert Fresh.model_validate({"label": "human", "value": "Ada"}).label == "human"
    assert Fresh.__pydantic_complete__
