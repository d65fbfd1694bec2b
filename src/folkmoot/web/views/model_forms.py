"""Connecting a provider of models: its key is tried before it is kept, and its models lead to a new agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.errors import FolkmootError
from folkmoot.server.routes import providers as api
from folkmoot.server.state import State
from folkmoot.server.wire.providers import CheckProvider, CreateProvider, ProviderType
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.responses import page_router, read_form, render

router = page_router()

FIELDS = ("provider_type", "name", "api_key", "base_url")


@router.get("/models/new")
async def new(request: Request) -> Response:
    """Show the form for a provider."""
    return _form(request, {"provider_type": "openai", "name": "", "base_url": ""}, {})


@router.post("/models/new")
async def create(request: Request, state: State) -> Response:
    """Try a provider and keep it, and show its models; or say what is wrong where."""
    form = await read_form(request)
    values = {name: text_of(form, name).strip() for name in FIELDS}
    given = {name: value for name, value in values.items() if value or name in ("name", "api_key")}
    try:
        body = CreateProvider.model_validate(given | {"name": values["name"] or values["provider_type"]})
        tried = {name: value for name, value in given.items() if name != "name"}
        await api.check(CheckProvider.model_validate(tried), state)
        await api.create(body, state)
    except (ValidationError, FolkmootError) as error:
        return _form(request, values, problems_of(error, FIELDS), 422)
    own = [model for model in await state.services.catalogue.models() if model.handle.startswith(f"{body.name}/")]
    return render(request, "models_connected.html", name=body.name, models=[model.handle for model in own])


def _form(request: Request, values: Mapping[str, Any], problems: Mapping[str, str], status: int = 200) -> Response:
    kinds = [kind for kind in get_args(ProviderType) if kind not in ("letta", "chatgpt_oauth")]  # those are refused
    return render(request, "model_new.html", status, values=values, problems=problems, kinds=kinds)
