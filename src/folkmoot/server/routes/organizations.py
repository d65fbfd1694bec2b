"""Organisations: create, list, delete; for admins of the default one."""

from __future__ import annotations

from fastapi import APIRouter, Response

from folkmoot.access.organizations import create_organization, delete_organization, list_organizations
from folkmoot.errors import Conflict
from folkmoot.server.state import State
from folkmoot.server.wire.access import CreateOrganization, DeletedOrganization, OrganizationReply
from folkmoot.server.wire.common import json_response

router = APIRouter(prefix="/v1/organizations", tags=["organizations"])


@router.post("", response_model=OrganizationReply)
async def create(body: CreateOrganization, state: State) -> Response:
    """Make an organisation; give it a key to use it with."""
    if state.services.settings.tool_sandbox == "trusted":
        raise Conflict(
            "This server runs code without walls (FOLKMOOT_TOOL_SANDBOX=trusted), which would read the data of every "
            "organisation. Use strict or off."
        )
    made = await state.store.everywhere.write(lambda transaction: create_organization(transaction, body.name))
    return json_response(OrganizationReply.of(made))


@router.get("", response_model=list[OrganizationReply])
async def list_all(state: State) -> Response:
    """List all organisations, the default one first."""
    found = await state.store.everywhere.read(list_organizations)
    return json_response([OrganizationReply.of(each) for each in found])


@router.delete("/{organization}", response_model=DeletedOrganization)
async def delete(organization: str, state: State) -> Response:
    """Delete an organisation, named by identifier or name, with everything that it has; say how much that was."""
    found, gone = await delete_organization(state.store.everywhere, organization)
    shown = OrganizationReply.of(found)
    return json_response(DeletedOrganization(**shown.model_dump(), deleted_rows=dict(gone)))
