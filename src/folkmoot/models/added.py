"""Providers that organisations add through the API, with keys of their own, as the store has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.models.kinds import ADDABLE, NOT_ADDABLE, RESERVED
from folkmoot.models.providers import (
    AZURE_VERSION,
    Provider,
    ResolvedModel,
    api_address,
    dialect_of,
    install_command,
    is_installed,
)
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.sealing import Sealer
from folkmoot.store.tables import model_providers

TOPIC = "model_providers"
"""Signalled when a provider was added, changed or deleted."""

MOST_PROVIDERS = 100
"""Providers that an organisation may add."""

Unseal: TypeAlias = Callable[[str | None], Mapping[str, str]]
"""Returns what was sealed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_KEYS = ("api_key", "access_key")
_OPTIONAL = ("base_url", "region", "api_version")


@dataclass(frozen=True, slots=True)
class AddedProvider:
    """A provider that an organisation has added. Times are in microseconds."""

    organization_id: str
    id: str
    name: str
    """What its models' handles begin with."""

    provider_type: str
    """As the wire format calls it: a key of `ADDABLE`."""

    base_url: str | None
    region: str | None
    api_version: str | None
    sealed: str | None
    created_at: int
    updated_at: int
    last_synced: int | None

    @classmethod
    def from_row(cls, row: Row) -> AddedProvider:
        """Read a row of the table."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @property
    def provider(self) -> Provider:
        """The provider as models are asked of it."""
        kind = ADDABLE[self.provider_type]
        revision = (self.id, max(self.updated_at, self.last_synced or 0))
        return replace(
            kind, name=self.name, title=self.name, like=kind.name, category="byok", local=False, revision=revision
        )

    def resolve(self, model: str, unseal: Unseal) -> ResolvedModel:
        """Return one of its models, with what is needed to ask it.

        Args:
            model: the model's name.
            unseal: reads its keys.

        Raises:
            NotFound: the package that it needs is not installed.
            StoreUnavailable: its keys were encrypted with another key than the server's.
        """
        kind = ADDABLE[self.provider_type]
        if not is_installed(kind):
            raise NotFound(
                f"There is no model {self.name}/{model}: the package for {kind.title} is not installed. "
                f"Run {install_command(kind)} and start the server anew."
            )
        keys = unseal(self.sealed)
        address = api_address(kind, self.base_url).replace("{region}", self.region or "")
        return ResolvedModel(
            f"{self.name}/{model}",
            self.provider,
            model,
            address,
            key=keys.get("api_key"),
            api_version=self.api_version or (AZURE_VERSION if kind.name == "azure" else None),
            dialect=dialect_of(kind, model, address, {}),
            region=self.region,
            access_key=keys.get("access_key"),
        )


_by_id = select(model_providers).where(model_providers.c.id == bindparam("provider_id"))
_by_id_locked = _by_id.with_for_update()
_by_name = select(model_providers.c.id).where(model_providers.c.name == bindparam("provider_name"))


def new_provider(fields: Mapping[str, Any], sealer: Sealer) -> AddedProvider:
    """Return a provider as it is asked for, not yet stored.

    Args:
        fields: `provider_type`, `api_key` and what else the wire format names; absent where there is none.
        sealer: seals its keys.

    Raises:
        InvalidInput: a field cannot be used.
    """
    now, name = clock.now(), fields["name"]
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"name: {name!r} cannot begin a model's handle; use up to 100 letters, digits, '.', '_' and '-'."
        )
    if name in RESERVED:
        raise InvalidInput(f"name: {name!r} is a provider of the server's own; choose another, such as 'my-{name}'.")
    kind, nothing = fields["provider_type"], (None, None, None, None)
    return changed(AddedProvider("", new_id("provider"), name, kind, *nothing, now, now, None), fields, sealer)


def changed(provider: AddedProvider, fields: Mapping[str, Any], sealer: Sealer) -> AddedProvider:
    """Return a provider with other fields; what is not named stays.

    Raises:
        InvalidInput: a field cannot be used, or one that the provider needs is missing.
    """
    if (why := NOT_ADDABLE.get(provider.provider_type)) is not None:
        raise InvalidInput(f"provider_type: {provider.provider_type!r} cannot be added here: {why}.")
    kept = sealer.unseal(provider.sealed)
    moved = [name for name in ("base_url", "region") if name in fields and fields[name] != getattr(provider, name)]
    if moved and kept and not any(fields.get(name) for name in _KEYS):
        raise InvalidInput(f"{moved[0]}: another one would be sent the key that is kept; give api_key along with it.")
    keys = {**kept, **{name: fields[name] or "" for name in _KEYS if name in fields}}
    named: dict[str, Any] = {name: fields[name] or None for name in _OPTIONAL if name in fields}
    after = replace(provider, sealed=sealer.seal({name: key for name, key in keys.items() if key}), **named)
    kind = ADDABLE[provider.provider_type]
    if after.base_url is None and kind.address is None:
        raise InvalidInput(f"base_url: needed for provider_type {provider.provider_type!r}: the address of its API.")
    if kind.dialect == "bedrock" and (after.region is None or after.base_url is not None):
        raise InvalidInput(
            "region: needed for provider_type 'bedrock', such as 'us-east-1'; leave base_url out: the region has one."
        )
    if after.region is not None and _REGION.fullmatch(after.region) is None:
        raise InvalidInput(f"region: {after.region!r} is no region; it looks like 'us-east-1'.")
    return after


async def create_provider(transaction: Transaction, provider: AddedProvider) -> AddedProvider:
    """Store a new provider.

    Raises:
        Conflict: there is one of this name, or there are too many.
    """
    if await transaction.first(_by_name, provider_name=provider.name) is not None:
        raise Conflict(f"name: there is a provider named {provider.name!r} already; choose another name, or change it.")
    if await count_rows(transaction, count_of(model_providers)) >= MOST_PROVIDERS:
        raise Conflict(f"There are {MOST_PROVIDERS} providers already, the most that can be added; delete one.")
    await transaction.insert(model_providers, [_values(provider)])
    transaction.signal(TOPIC)
    return await find_provider(transaction, provider.id)


async def find_provider(transaction: Transaction, provider_id: str, *, lock: bool = False) -> AddedProvider:
    """Return a provider; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such provider.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, provider_id=provider_id)
    if row is None:
        raise NotFound(f"Provider with id '{provider_id}' not found")
    return AddedProvider.from_row(row)


async def list_providers(
    transaction: Transaction, name: str | None, provider_type: str | None, page: Page
) -> list[AddedProvider]:
    """Return a page of the providers, by time of creation; those of a name or type where it is not None."""
    wanted = {"name": name, "provider_type": provider_type}
    conditions = [model_providers.c[column] == value for column, value in wanted.items() if value is not None]
    rows = await fetch_page(transaction, select(model_providers).where(*conditions), model_providers, page)
    return [AddedProvider.from_row(row) for row in rows]


async def all_providers(transaction: Transaction) -> list[AddedProvider]:
    """Return every provider that the transaction reaches."""
    return [AddedProvider.from_row(row) for row in await transaction.all(select(model_providers))]


async def update_provider(transaction: Transaction, after: AddedProvider) -> AddedProvider:
    """Store a provider as it is now.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    this = model_providers.c.id == after.id
    values = {**_values(after), "updated_at": clock.now()}
    await transaction.run(update(model_providers).where(this).values(**values))
    transaction.signal(TOPIC)
    return await find_provider(transaction, after.id)


async def note_sync(transaction: Transaction, provider_id: str) -> AddedProvider:
    """Note that a provider's models were listed just now.

    Raises:
        NotFound: there is no such provider.
    """
    this = model_providers.c.id == provider_id
    await transaction.run(update(model_providers).where(this).values(last_synced=clock.now()))
    transaction.signal(TOPIC)
    return await find_provider(transaction, provider_id)


async def delete_provider(transaction: Transaction, provider_id: str) -> None:
    """Delete a provider; agents that use its models keep their handles, and their turns say that it is gone.

    Raises:
        NotFound: there is no such provider.
    """
    await find_provider(transaction, provider_id, lock=True)
    await transaction.run(delete(model_providers).where(model_providers.c.id == provider_id))
    transaction.signal(TOPIC)


def _values(provider: AddedProvider) -> dict[str, Any]:
    return {name: getattr(provider, name) for name in AddedProvider.__dataclass_fields__ if name != "organization_id"}
