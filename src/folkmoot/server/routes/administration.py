"""Organisations and users under the paths that older programs administer them by; for admins of the default one.

An organisation has one user, whom the wire format attributes things to, and those who came from another server. Who is
who is said by keys, at `/v1/keys`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from folkmoot.access.organizations import (
    create_organization,
    delete_organization,
    find_organization,
    list_organizations,
    rename_organization,
)
from folkmoot.access.users import list_users, users_named
from folkmoot.errors import Conflict
from folkmoot.server.state import State
from folkmoot.server.wire.access import AdministeredOrganization, AdministeredUser, CreateOrganization
from folkmoot.server.wire.common import json_response
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page

router = APIRouter(prefix="/v1/admin", tags=["organizations"])

OrganizationId = Annotated[str, Query(alias="org_id", description="The organisation's identifier, or its name.")]

AfterUser = Annotated[str | None, Query(description="The user behind whom the list goes on.")]
UsersOnPage = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Users from other servers, at the most.")]

ONE_USER = "An organisation has one user. Tell people and programs apart by their keys: POST /v1/keys makes one."


@router.get("/orgs", response_model=list[AdministeredOrganization])
async def list_orgs(state: State) -> Response:
    """List all organisations, the default one first."""
    found = await state.store.everywhere.read(list_organizations)
    return json_response([AdministeredOrganization.of(each) for each in found])


@router.post("/orgs", response_model=AdministeredOrganization)
async def create_org(body: CreateOrganization, state: State) -> Response:
    """Make an organisation."""
    made = await state.store.everywhere.write(lambda each: create_organization(each, body.name))
    return json_response(AdministeredOrganization.of(made))


@router.patch("/orgs", response_model=AdministeredOrganization)
async def rename_org(org_id: OrganizationId, body: CreateOrganization, state: State) -> Response:
    """Give an organisation another name."""
    named = await state.store.everywhere.write(lambda each: rename_organization(each, org_id, body.name))
    return json_response(AdministeredOrganization.of(named))


@router.delete("/orgs", response_model=AdministeredOrganization)
async def delete_org(org_id: OrganizationId, state: State) -> Response:
    """Delete an organisation with everything that it has."""
    found, _ = await delete_organization(state.store.everywhere, org_id)
    return json_response(AdministeredOrganization.of(found))


@router.get("/users", response_model=list[AdministeredUser])
async def list_all_users(state: State, after: AfterUser = None, limit: UsersOnPage = LARGEST_PAGE) -> Response:
    """List the users: one of each organisation, and behind them, page by page, those who came from another server."""
    page = Page(limit=limit, after=after)

    async def read(transaction: Transaction) -> list[AdministeredUser]:
        came = [AdministeredUser.of_user(user) for user in await list_users(transaction, page)]
        if after is not None:
            return came
        known = {user.id for user in came}
        own = map(AdministeredUser.of, await list_organizations(transaction))
        return [*(user for user in own if user.id not in known), *came]

    return json_response(await state.store.everywhere.read(read))


@router.post("/users")
@router.put("/users")
async def keep_users() -> None:
    """Say that there are no further users to make or change.

    Raises:
        Conflict: always.
    """
    raise Conflict(ONE_USER)


@router.delete("/users")
async def delete_user(user_id: str, state: State) -> None:
    """Say that a user stays as long as its organisation, and in histories for longer.

    Raises:
        NotFound: there is no such user.
        Conflict: there is.
    """

    async def read(transaction: Transaction) -> None:
        if not await users_named(transaction, user_id):
            await find_organization(transaction, user_id.replace("user-", "org-", 1))

    await state.store.everywhere.read(read)
    raise Conflict(f"{ONE_USER} It goes with its organisation.")
