"""Models: what the configured providers offer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from folkmoot.models.checking import check_model
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import State
from folkmoot.server.wire.common import json_response
from folkmoot.server.wire.models import CheckedModelReply, CheckModel, EmbeddingModelReply, ModelReply

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=BodyRoute)


@router.get("", response_model=list[ModelReply])
async def list_all(
    state: State,
    provider_name: str | None = None,
    provider_type: str | None = None,
    provider_category: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """List the models that agents can be given; what a provider does not list can be given too."""
    models = [ModelReply.of(model) for model in await state.services.catalogue.models()]
    return json_response(
        [
            model
            for model in models
            if (provider_name is None or model.provider_name == provider_name)
            and (provider_type is None or model.provider_type == provider_type)
            and (not provider_category or model.provider_category in provider_category)
        ]
    )


@router.get("/embeddings", response_model=list[EmbeddingModelReply], include_in_schema=False)
@router.get("/embedding", response_model=list[EmbeddingModelReply])
async def list_embedding(state: State) -> Response:
    """List the models that make embeddings; `/v1/models/embeddings` is the older address."""
    found = await state.services.catalogue.embedding_models()
    return json_response([EmbeddingModelReply.of(model) for model in found])


@router.post("/check", response_model=CheckedModelReply)
async def check(body: CheckModel, state: State) -> Response:
    """Ask a model a question of one line, and say what it answered and how long it took, or what is wrong."""
    handle = state.services.catalogue.handle_of(body.handle)
    return json_response(CheckedModelReply.of(handle, await check_model(state.services.models.ask, handle)))
