"""What holds for every call of an organisation's own tools: hosts that they may reach, and environment variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import Conflict, NotFound
from folkmoot.identifiers import derived_id, new_id
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.sealing import Sealer
from folkmoot.store.tables import sandbox_configs, sandbox_variables

MOST_VARIABLES = 1000


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """The settings of an organisation's calls; there is one. Times are in microseconds."""

    id: str
    config: Mapping[str, Any]
    created_at: int
    updated_at: int

    @classmethod
    def from_row(cls, row: Row) -> SandboxConfig:
        """Read a row of the table."""
        return cls(row["id"], json.loads(row["config"]), row["created_at"], row["updated_at"])


@dataclass(frozen=True, slots=True)
class SandboxVariable:
    """An environment variable of such calls."""

    id: str
    config_id: str
    name: str
    sealed_value: str
    description: str | None
    created_at: int

    @classmethod
    def from_row(cls, row: Row) -> SandboxVariable:
        """Read a row of the table."""
        return cls(*(row[name] for name in cls.__dataclass_fields__))

    def value(self, sealer: Sealer) -> str:
        """Return the value in clear.

        Raises:
            StoreUnavailable: it was sealed with another key.
        """
        return sealer.unseal(self.sealed_value)["value"]


_only = select(sandbox_configs).order_by(sandbox_configs.c.created_at, sandbox_configs.c.id).limit(1)
_by_id = select(sandbox_configs).where(sandbox_configs.c.id == bindparam("config_id"))
_set_config = (
    update(sandbox_configs)
    .where(sandbox_configs.c.id == bindparam("of_config"))
    .values(config=bindparam("new_config"), updated_at=bindparam("now"))
)
_delete_config = delete(sandbox_configs).where(sandbox_configs.c.id == bindparam("config_id"))
_all_variables = select(sandbox_variables).order_by(sandbox_variables.c.created_at, sandbox_variables.c.id)
_count = count_of(sandbox_variables, sandbox_variables.c.config_id == bindparam("of_config"))
_named = select(sandbox_variables).where(
    sandbox_variables.c.config_id == bindparam("of_config"), sandbox_variables.c.name == bindparam("variable")
)
_named_locked = _named.with_for_update()
_variable = select(sandbox_variables).where(sandbox_variables.c.id == bindparam("variable_id"))
_variable_locked = _variable.with_for_update()
_set_variable = (
    update(sandbox_variables)
    .where(sandbox_variables.c.id == bindparam("variable_id"))
    .values(name=bindparam("new_name"), sealed_value=bindparam("new_value"), description=bindparam("new_description"))
)
_delete_variable = delete(sandbox_variables).where(sandbox_variables.c.id == bindparam("variable_id"))


async def find_settings(transaction: Transaction) -> SandboxConfig | None:
    """Return the organisation's settings; None where it has made none."""
    row = await transaction.first(_only)
    return SandboxConfig.from_row(row) if row is not None else None


async def make_settings(transaction: Transaction, config: Mapping[str, Any] | None) -> SandboxConfig:
    """Return the organisation's settings, made first where there are none; with `config` they become that."""
    found = await find_settings(transaction)
    if found is None:
        # One identifier for all who make them at the same moment: there are one organisation's settings.
        made = derived_id("sandbox", transaction.organization_id or "")
        row = {"id": made, "config": "{}", "created_at": clock.now(), "updated_at": clock.now()}
        await transaction.insert(sandbox_configs, [row], or_keep=True)
        found = await find_settings_by_id(transaction, made)
    return found if config is None else await change_settings(transaction, found.id, config)


async def change_settings(transaction: Transaction, config_id: str, config: Mapping[str, Any]) -> SandboxConfig:
    """Replace settings.

    Raises:
        NotFound: there are none of this identifier.
    """
    found = await find_settings_by_id(transaction, config_id)
    now = clock.now()
    await transaction.run(_set_config, of_config=config_id, new_config=json.dumps(config), now=now)
    return replace(found, config=config, updated_at=now)


async def find_settings_by_id(transaction: Transaction, config_id: str) -> SandboxConfig:
    """Return settings by their identifier.

    Raises:
        NotFound: there are none.
    """
    row = await transaction.first(_by_id, config_id=config_id)
    if row is None:
        raise NotFound(f"Sandbox configuration with id '{config_id}' not found")
    return SandboxConfig.from_row(row)


async def delete_settings(transaction: Transaction, config_id: str) -> None:
    """Delete settings with their variables.

    Raises:
        NotFound: there are none of this identifier.
    """
    await find_settings_by_id(transaction, config_id)
    await transaction.run(_delete_config, config_id=config_id)


async def list_variables(transaction: Transaction, config_id: str, page: Page) -> list[SandboxVariable]:
    """Return a page of the variables of settings, by age.

    Raises:
        NotFound: there are no such settings.
    """
    await find_settings_by_id(transaction, config_id)
    statement = select(sandbox_variables).where(sandbox_variables.c.config_id == config_id)
    return [SandboxVariable.from_row(row) for row in await fetch_page(transaction, statement, sandbox_variables, page)]


async def variables_of(transaction: Transaction) -> list[SandboxVariable]:
    """Return every variable that the organisation's calls have."""
    return [SandboxVariable.from_row(row) for row in await transaction.all(_all_variables)]


async def put_variable(
    transaction: Transaction, config_id: str, name: str, sealed_value: str, description: str | None
) -> SandboxVariable:
    """Store a variable; the one of its name gets the new value.

    Raises:
        NotFound: there are no such settings.
        Conflict: there are too many variables.
    """
    await find_settings_by_id(transaction, config_id)
    row = await transaction.first(_named_locked, of_config=config_id, variable=name)
    if row is not None:
        found = SandboxVariable.from_row(row)
        changed = replace(found, sealed_value=sealed_value, description=description or found.description)
        await _store(transaction, changed)
        return changed
    if await count_rows(transaction, _count, of_config=config_id) >= MOST_VARIABLES:
        raise Conflict(f"There are {MOST_VARIABLES} variables already; delete some.")
    variable = SandboxVariable(new_id("sandbox-env"), config_id, name, sealed_value, description, clock.now())
    row = {field: getattr(variable, field) for field in SandboxVariable.__dataclass_fields__}
    await transaction.insert(sandbox_variables, [row])
    return variable


async def change_variable(transaction: Transaction, variable_id: str, changes: Mapping[str, Any]) -> SandboxVariable:
    """Change a variable.

    Args:
        transaction: where to write.
        variable_id: which variable.
        changes: its new `name`, `sealed_value` or `description`.

    Raises:
        NotFound: there is no such variable.
        Conflict: there is another one of the name.
    """
    changed = replace(await find_variable(transaction, variable_id, lock=True), **changes)
    other = await transaction.first(_named, of_config=changed.config_id, variable=changed.name)
    if other is not None and other["id"] != variable_id:
        raise Conflict(f"key: there is another variable {changed.name!r}, {other['id']}.")
    await _store(transaction, changed)
    return changed


async def find_variable(transaction: Transaction, variable_id: str, *, lock: bool = False) -> SandboxVariable:
    """Return a variable; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such variable.
    """
    row = await transaction.first(_variable_locked if lock else _variable, variable_id=variable_id)
    if row is None:
        raise NotFound(f"Variable with id '{variable_id}' not found")
    return SandboxVariable.from_row(row)


async def delete_variable(transaction: Transaction, variable_id: str) -> None:
    """Delete a variable.

    Raises:
        NotFound: there is no such variable.
    """
    await find_variable(transaction, variable_id)
    await transaction.run(_delete_variable, variable_id=variable_id)


async def _store(transaction: Transaction, variable: SandboxVariable) -> None:
    await transaction.run(
        _set_variable,
        variable_id=variable.id,
        new_name=variable.name,
        new_value=variable.sealed_value,
        new_description=variable.description,
    )
