"""An organisation's keys: create, list, change what a member reaches, revoke; for its admins."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from folkmoot.access.authentication import Authentication
from folkmoot.access.keys import Key, create_key, find_key, give_key, list_keys, revoke_key, set_grants
from folkmoot.access.organizations import find_organization
from folkmoot.access.principals import Grants
from folkmoot.access.users import find_user
from folkmoot.errors import Forbidden
from folkmoot.identifiers import ORGANIZATION
from folkmoot.schedules.schedules import end_schedules_of
from folkmoot.server.grants import labels_for, read_grants
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.access import CreateKey, KeyReply, MemberGrants, NewKey
from folkmoot.server.wire.common import Text, json_response
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", response_model=NewKey)
async def create(request: Request, body: CreateKey, state: State) -> Response:
    """Make a key; it is shown this once. From the first one on that is no member's nobody is let in without a key."""
    store = await _store_of(state, body.organization)
    expires_at = clock.from_datetime(body.expires_at) if body.expires_at is not None else None

    async def make(transaction: Transaction) -> tuple[Key, str, Mapping[str, str]]:
        grants = await read_grants(transaction, body)
        if body.user is not None:
            user = await find_user(transaction, body.user)
            await end_schedules_of(transaction, user.id)
            made = await give_key(transaction, user, body.name, body.role, expires_at, grants)
        else:
            made = await create_key(transaction, body.name, body.role, expires_at, state.principal.name, grants)
        return *made, await labels_for(transaction, made[:1])

    key, secret, labels = await store.write(make)
    if key.grants is None:
        authentication: Authentication = request.app.state.authentication
        authentication.close_to_strangers()
    return json_response(NewKey.with_secret(key, secret, labels), {"Cache-Control": "no-store"})


@router.get("", response_model=list[KeyReply])
async def list_all(state: State, organization: Text | None = None) -> Response:
    """List the organisation's keys, the oldest first, revoked ones too."""
    store = await _store_of(state, organization)

    async def read(transaction: Transaction) -> list[KeyReply]:
        keys = await list_keys(transaction)
        labels = await labels_for(transaction, keys)
        return [KeyReply.of(key, labels) for key in keys]

    return json_response(await store.read(read))


@router.patch("/{key_id}", response_model=KeyReply)
async def change(key_id: str, body: MemberGrants, state: State, organization: Text | None = None) -> Response:
    """Change what a member's key reaches, from its next request on; what is left out stays."""
    store = await _store_of(state, organization)

    async def write(transaction: Transaction) -> KeyReply:
        key = await find_key(transaction, key_id, lock=True)
        grants = await read_grants(transaction, body, key.grants or Grants({}))
        key = await set_grants(transaction, key_id, grants or Grants({}))
        return KeyReply.of(key, await labels_for(transaction, [key]))

    return json_response(await store.write(write))


@router.delete("/{key_id}", response_model=KeyReply)
async def revoke(key_id: str, state: State, organization: Text | None = None) -> Response:
    """Revoke a key: the next request with it is refused, by every process, and its open streams end."""
    store = await _store_of(state, organization)

    async def write(transaction: Transaction) -> KeyReply:
        key = await revoke_key(transaction, key_id)
        return KeyReply.of(key, await labels_for(transaction, [key]))

    return json_response(await store.write(write))


async def _store_of(state: ServerState, organization: str | None) -> Store:
    """Return the database as the organisation that is named sees it, or the principal's own.

    Raises:
        Forbidden: it is another one, and the principal is not of the default organisation.
        NotFound: there is no such organisation.
    """
    if organization is None or organization == state.principal.organization_id:
        return state.store
    if state.principal.organization_id != ORGANIZATION:
        raise Forbidden("organization: only admins of the default organisation name another than their own.")
    everywhere = state.store.everywhere
    found = await everywhere.read(lambda transaction: find_organization(transaction, organization))
    return state.store.everywhere.of(found.id)
