"""What holds for every call of an organisation's own tools: hosts and packages, and environment variables."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from folkmoot.errors import BadRequest
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import json_response, page_of
from folkmoot.server.wire.sandbox_configs import (
    ConfigId,
    CreateVariable,
    LocalConfig,
    SandboxConfigReply,
    SandboxVariableReply,
    UpdateVariable,
    VariableId,
    WriteConfig,
)
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, page_of_list
from folkmoot.tools.custom.configuration import (
    SandboxConfig,
    SandboxVariable,
    change_settings,
    change_variable,
    delete_settings,
    delete_variable,
    find_settings,
    list_variables,
    make_settings,
    put_variable,
)
from folkmoot.tools.custom.packages import packages_of

router = APIRouter(prefix="/v1/sandbox-config", tags=["sandbox-config"], route_class=BodyRoute)

OldestFirst = Annotated[Page, Depends(page_of("asc"))]


@router.post("", response_model=SandboxConfigReply)
async def create(body: WriteConfig, state: State) -> Response:
    """Set what holds for every call; an organisation has one such set."""
    return await _made(body.config, state)


@router.get("", response_model=list[SandboxConfigReply])
async def list_all(page: OldestFirst, state: State, sandbox_type: str | None = None) -> Response:
    """List the settings: those of the organisation, if it has made any."""
    if sandbox_type is not None:
        _check_type(sandbox_type)
    found = await state.store.read(find_settings)
    listed = page_of_list([found] if found is not None else [], page, lambda settings: settings.id)
    return json_response([_shown(settings, state) for settings in listed])


@router.post("/{sandbox_type}/default", response_model=SandboxConfigReply)
async def create_default(sandbox_type: str, state: State) -> Response:
    """Return the settings, made first where there are none."""
    _check_type(sandbox_type)
    return await _made(None, state)


@router.post("/local", response_model=SandboxConfigReply)
async def create_local(body: LocalConfig, state: State) -> Response:
    """Set what holds for every call, in the form that names the kind of sandbox in the address."""
    return await _made(body, state)


@router.post("/local/recreate-venv", response_model=SandboxConfigReply)
async def recreate(state: State) -> Response:
    """Return the settings; environments are made anew by themselves when their packages change."""
    return await _made(None, state)


@router.patch("/{sandbox_config_id}", response_model=SandboxConfigReply)
async def update(sandbox_config_id: ConfigId, body: WriteConfig, state: State) -> Response:
    """Replace the settings."""
    config = _read(body.config)
    changed = await state.store.write(lambda transaction: change_settings(transaction, sandbox_config_id, config))
    return json_response(_shown(changed, state))


@router.delete("/{sandbox_config_id}", status_code=204)
async def delete(sandbox_config_id: ConfigId, state: State) -> None:
    """Delete the settings and their variables."""
    await state.store.write(lambda transaction: delete_settings(transaction, sandbox_config_id))


@router.get("/{sandbox_config_id}/environment-variable", response_model=list[SandboxVariableReply])
async def list_environment(sandbox_config_id: ConfigId, page: OldestFirst, state: State) -> Response:
    """List the variables that every call has."""
    found = await state.store.read(lambda transaction: list_variables(transaction, sandbox_config_id, page))
    return json_response([_shown_variable(variable, state) for variable in found])


@router.post("/{sandbox_config_id}/environment-variable", response_model=SandboxVariableReply)
async def create_variable(sandbox_config_id: ConfigId, body: CreateVariable, state: State) -> Response:
    """Give every call a variable; one of the key gets the new value."""
    sealed = _sealed(body.value, state)

    async def write(transaction: Transaction) -> SandboxVariable:
        return await put_variable(transaction, sandbox_config_id, body.key, sealed, body.description)

    return json_response(_shown_variable(await state.store.write(write), state))


@router.patch("/environment-variable/{variable_id}", response_model=SandboxVariableReply)
async def update_variable(variable_id: VariableId, body: UpdateVariable, state: State) -> Response:
    """Change a variable."""
    changes: dict[str, Any] = {} if body.key is None else {"name": body.key}
    if body.value is not None:
        changes["sealed_value"] = _sealed(body.value, state)
    if body.description is not None:
        changes["description"] = body.description
    changed = await state.store.write(lambda transaction: change_variable(transaction, variable_id, changes))
    return json_response(_shown_variable(changed, state))


@router.delete("/environment-variable/{variable_id}", status_code=204)
async def remove_variable(variable_id: VariableId, state: State) -> None:
    """Take a variable from every call."""
    await state.store.write(lambda transaction: delete_variable(transaction, variable_id))


def _check_type(sandbox_type: str) -> None:
    if sandbox_type != "local":
        raise BadRequest(
            f"sandbox_type: {sandbox_type!r} is not used here: tools run on this server, behind the kernel's walls. "
            "Use local."
        )


def _read(config: LocalConfig) -> dict[str, Any]:
    if config.template is not None or config.timeout is not None:
        raise BadRequest(
            "config: template and timeout are settings of E2B and Modal, which are not used here: tools run on this "
            "server, for as long as FOLKMOOT_TOOL_TIMEOUT says."
        )
    read = config.model_dump(exclude={"template", "timeout"})
    packages_of("pip", read["pip_requirements"])
    return read


async def _made(config: LocalConfig | None, state: ServerState) -> Response:
    read = None if config is None else _read(config)
    made = await state.store.write(lambda transaction: make_settings(transaction, read))
    return json_response(_shown(made, state))


def _sealed(value: str, state: ServerState) -> str:
    sealed = state.services.sealer.seal({"value": value})
    assert sealed is not None
    return sealed


def _shown(settings: SandboxConfig, state: ServerState) -> SandboxConfigReply:
    return SandboxConfigReply.of(settings, state.principal.organization_id)


def _shown_variable(variable: SandboxVariable, state: ServerState) -> SandboxVariableReply:
    sealer = state.services.sealer if state.shows_secrets else None
    return SandboxVariableReply.of(variable, state.principal.organization_id, sealer)
