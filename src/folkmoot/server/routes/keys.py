"""An organisation's keys: create, list, revoke; for its admins."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from folkmoot.access.authentication import Authentication
from folkmoot.access.keys import Key, create_key, list_keys, revoke_key
from folkmoot.access.organizations import find_organization
from folkmoot.errors import Forbidden
from folkmoot.identifiers import ORGANIZATION
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.access import CreateKey, KeyReply, NewKey
from folkmoot.server.wire.common import Text, json_response
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", response_model=NewKey)
async def create(request: Request, body: CreateKey, state: State) -> Response:
    """Make a key; it is shown this once. From the first one on nobody is let in without a key."""
    store = await _store_of(state, body.organization)
    expires_at = clock.from_datetime(body.expires_at) if body.expires_at is not None else None

    async def make(transaction: Transaction) -> tuple[Key, str]:
        return await create_key(transaction, body.name, body.role, expires_at, state.principal.name)

    key, secret = await store.write(make)
    authentication: Authentication = request.app.state.authentication
    authentication.close_to_strangers()
    return json_response(NewKey.with_secret(key, secret), {"Cache-Control": "no-store"})


@router.get("", response_model=list[KeyReply])
async def list_all(state: State, organization: Text | None = None) -> Response:
    """List the organisation's keys, the oldest first, revoked ones too."""
    store = await _store_of(state, organization)
    return json_response([KeyReply.of(key) for key in await store.read(list_keys)])


@router.delete("/{key_id}", response_model=KeyReply)
async def revoke(key_id: str, state: State, organization: Text | None = None) -> Response:
    """Revoke a key: the next request with it is refused, by every process, and its open streams end."""
    store = await _store_of(state, organization)
    return json_response(KeyReply.of(await store.write(lambda transaction: revoke_key(transaction, key_id))))


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
