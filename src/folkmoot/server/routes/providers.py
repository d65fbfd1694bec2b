"""Providers that an organisation adds, with keys of its own; their models are in the lists of models at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from folkmoot.errors import AddressRefused, BadRequest, ProviderAuthentication
from folkmoot.models import added
from folkmoot.models.added import AddedProvider
from folkmoot.models.listing import check_key
from folkmoot.outbound.addresses import check_url
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import Deleted, json_response, page_of
from folkmoot.server.wire.providers import (
    Checked,
    CheckProvider,
    CreateProvider,
    ProviderId,
    ProviderReply,
    ProviderType,
    UpdateProvider,
)
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/providers", tags=["providers"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc"))]


@router.post("", response_model=ProviderReply)
async def create(body: CreateProvider, state: State) -> Response:
    """Add a provider; agents then name its models as `<name>/<model>`. It is not asked yet: `check` does that."""
    provider = added.new_provider(body.fields(), state.shared.sealer)
    _check_address(provider, state)
    return await _show(state, await state.store.write(lambda each: added.create_provider(each, provider)))


@router.post("/check", response_model=Checked)
async def check(body: CheckProvider, state: State) -> Response:
    """See whether a provider can be reached and accepts a key; nothing is kept."""
    fields = {**body.fields(), "name": "checked"}
    return await _check(added.new_provider(fields, state.shared.sealer), state)


@router.get("", response_model=list[ProviderReply])
async def list_all(
    page: NewestFirst, state: State, name: str | None = None, provider_type: ProviderType | None = None
) -> Response:
    """List the providers that were added, the newest first."""
    found = await state.store.read(lambda each: added.list_providers(each, name, provider_type, page))
    return json_response([ProviderReply.of(provider) for provider in found])


@router.get("/{provider_id}", response_model=ProviderReply)
async def retrieve(provider_id: ProviderId, state: State) -> Response:
    """Return a provider, without its key."""
    return json_response(ProviderReply.of(await _find(provider_id, state)))


@router.patch("/{provider_id}", response_model=ProviderReply)
async def update(provider_id: ProviderId, body: UpdateProvider, state: State) -> Response:
    """Change a provider; a turn that is asking it goes on with the old key."""

    async def change(transaction: Transaction) -> AddedProvider:
        before = await added.find_provider(transaction, provider_id, lock=True)
        after = added.changed(before, body.fields(), state.shared.sealer)
        _check_address(after, state)
        return await added.update_provider(transaction, after)

    return await _show(state, await state.store.write(change))


@router.delete("/{provider_id}", response_model=Deleted)
async def delete(provider_id: ProviderId, state: State) -> Response:
    """Delete a provider; agents keep the handles of its models, and their turns fail until it or they are changed."""
    await state.store.write(lambda transaction: added.delete_provider(transaction, provider_id))
    await state.shared.directory.read()
    return json_response(Deleted(message=f"Provider id={provider_id} successfully deleted"))


@router.post("/{provider_id}/check", response_model=Checked)
async def check_existing(provider_id: ProviderId, state: State) -> Response:
    """See whether a provider can be reached and accepts its key, and what is wrong if not."""
    return await _check(await _find(provider_id, state), state)


@router.patch("/{provider_id}/refresh", response_model=ProviderReply)
async def refresh(provider_id: ProviderId, state: State) -> Response:
    """Ask a provider for its list of models anew."""
    provider = await _find(provider_id, state)
    models = await state.services.catalogue.told_by(provider.resolve("any", state.shared.sealer.unseal))
    synced = await state.store.write(lambda each: added.note_sync(each, provider_id))
    state.services.catalogue.keep(synced.provider, models)
    return await _show(state, synced)


async def _show(state: ServerState, provider: AddedProvider) -> Response:
    await state.shared.directory.read()  # so that the next request to this process knows it
    return json_response(ProviderReply.of(provider))


async def _find(provider_id: str, state: ServerState) -> AddedProvider:
    return await state.store.read(lambda transaction: added.find_provider(transaction, provider_id))


async def _check(provider: AddedProvider, state: ServerState) -> Response:
    _check_address(provider, state)
    resolved = provider.resolve("any", state.shared.sealer.unseal)
    try:
        await check_key(resolved, allow_private=state.services.settings.private_providers)
    except ProviderAuthentication as error:
        raise BadRequest(f"api_key: {error.message} Give the key of {resolved.address}.") from error
    return json_response(Checked(message=f"Valid api key for provider_type={provider.provider_type}"))


def _check_address(provider: AddedProvider, state: ServerState) -> None:
    """Refuse an address that this server may not be made to ask.

    Raises:
        InvalidInput: it is none, or not a public one.
    """
    if provider.base_url is None:
        return
    try:
        check_url(provider.base_url, "base_url", allow_private=state.services.settings.private_providers)
    except AddressRefused as error:
        raise AddressRefused(f"{error.message} FOLKMOOT_PRIVATE_PROVIDERS allows such addresses.") from error
