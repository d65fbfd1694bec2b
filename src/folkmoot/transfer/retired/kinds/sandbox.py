"""Settings of the sandbox: the environment variables of all calls; the rest of them has no meaning here."""

from __future__ import annotations

from folkmoot.store.tables import sandbox_configs, sandbox_variables
from folkmoot.tools.custom.configuration import find_settings
from folkmoot.transfer.retired.context import Context, text_of, time_of


class Sandbox:
    """The tables of the sandbox's settings and variables."""

    name = "sandbox"
    tables = frozenset({"sandbox_configs", "sandbox_environment_variables"})

    async def take(self, context: Context) -> None:
        """Take the first settings of the local sandbox, and the variables of all of them, sealed anew."""
        there = await context.store.read(find_settings)
        config_id = there.id if there is not None else None
        for row in await context.source.all(
            "sandbox_configs", "organization_id = $1", context.organization_id, order="type <> 'LOCAL', created_at, id"
        ):
            if config_id in (None, row["id"]):
                age = {"created_at": time_of(row), "updated_at": time_of(row, "updated_at")}
                await context.put(sandbox_configs, {"id": row["id"], "config": "{}", **age}, "sandbox_configs", row)
                config_id = row["id"]
            else:
                context.problem("sandbox_configs", row, f"is of the sandbox {row['type']}; its variables come.")
            await self._variables(context, row["id"], str(config_id))

    async def _variables(self, context: Context, of: str, config_id: str) -> None:
        table = "sandbox_environment_variables"
        for row in await context.source.all(table, "sandbox_config_id = $1", of, order="created_at, id"):
            value = context.secret(row, "value", "value_enc")
            if value is None:
                context.problem(table, row, f"{row['key']} needs LETTA_ENCRYPTION_KEY.")
                continue
            made = {
                "id": row["id"],
                "config_id": config_id,
                "name": row["key"],
                "sealed_value": context.sealer.seal({"value": value}),
                "description": text_of(row.get("description")),
                "created_at": time_of(row),
            }
            await context.put(sandbox_variables, made, table, row)
