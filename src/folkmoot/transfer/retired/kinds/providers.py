"""Providers that organisations added, with their keys sealed anew; what models they have is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from folkmoot.errors import FolkmootError
from folkmoot.models.added import AddedProvider, changed
from folkmoot.store.tables import model_providers
from folkmoot.transfer.retired.context import DAMAGED, Context, time_of


class Providers:
    """The tables of providers and their models."""

    name = "providers"
    tables = frozenset({"providers", "provider_models"})

    async def take(self, context: Context) -> None:
        """Take the organisation's providers; those of the old server itself stand in its environment."""
        async for row in context.source.rows(
            "providers", "organization_id = $1", context.organization_id, order="created_at, id"
        ):
            try:
                provider = _provider(context, row)
            except FolkmootError as error:
                context.problem("providers", row, error.message)
                continue
            except DAMAGED as error:
                context.problem("providers", row, error)
                continue
            await context.put(model_providers, provider, "providers", row)
            if row["id"] in await context.ids(model_providers):
                await context.count_there(("provider_models",), "provider_id", row["id"])
        await context.directory.read()
        await _of_server(context)


async def _of_server(context: Context) -> None:
    """Say once whom the old server itself asked."""
    for row in await context.source.all("providers", "organization_id IS NULL", order="created_at, id"):
        line = f"providers {row['id']} {row['name']!r}: is the old server's own; set its key in this one's environment."
        if line not in context.done.problems:
            context.note(line)
            context.done.refused["providers"] += 1
            models = await context.source.value("count(*)", "provider_models", "provider_id = $1", row["id"])
            context.done.refused["provider_models"] += models


def _provider(context: Context, row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"base_url": row.get("base_url"), "region": row.get("region"), "api_version": row.get("api_version")}
    for name in ("api_key", "access_key"):
        value = context.secret(row, name, f"{name}_enc")
        if value is None:
            context.note(f"providers {row['id']} {row['name']!r}: its {name} needs LETTA_ENCRYPTION_KEY; set it anew.")
        fields[name] = value or ""
    nothing = (None, None, None, None)
    blank = AddedProvider("", row["id"], row["name"], row["provider_type"], *nothing, 0, 0, None)
    made = changed(blank, {name: value for name, value in fields.items() if value}, context.sealer)
    return {
        "id": made.id,
        "name": made.name,
        "provider_type": made.provider_type,
        "base_url": made.base_url,
        "region": made.region,
        "api_version": made.api_version,
        "sealed": made.sealed,
        "created_at": time_of(row),
        "updated_at": time_of(row, "updated_at"),
        "last_synced": None,
    }
