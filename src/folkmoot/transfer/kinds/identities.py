"""Identities that agents belong to; one of the same key that is here is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.agents.identities import Holdings, Identity, attach_agent, create_identity
from folkmoot.errors import BadRequest
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import identities, identity_agents
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.message_rows import OWN_KEY

_of_agent = (
    select(identities)
    .join(identity_agents, identity_agents.c.identity_id == identities.c.id)
    .where(identity_agents.c.agent_id == bindparam("of"))
    .order_by(identities.c.created_at, identities.c.id)
)
_of_key = select(identities.c.id).where(
    identities.c.identifier_key == bindparam("key"), identities.c.project_id == bindparam("project")
)


class Identities:
    """Our own section `identities`, and of each agent to which it belongs."""

    async def export(self, exporting: Exporting) -> None:
        """Add the identities of the agents, each once."""
        exporting.own["identities"] = []
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            entry[OWN_KEY]["identity_ids"] = []
            for row in await exporting.transaction.all(_of_agent, of=agent.id):
                identity = Identity.from_row(row)
                new = exporting.ids.known(identity.id) == identity.id
                identifier = exporting.ids.of("identity", identity.id)
                entry[OWN_KEY]["identity_ids"].append(identifier)
                if new:
                    fields = {
                        "id": identifier,
                        "identifier_key": identity.identifier_key,
                        "name": identity.name,
                        "identity_type": identity.identity_type,
                        "project_id": identity.project_id,
                        "properties": [dict(each) for each in identity.properties],
                    }
                    exporting.own["identities"].append(fields)

    def prepare(self, loading: Loading) -> None:
        """Refuse what names no identity of the file."""
        for entry in loading.file.section("agents"):
            for identifier in _identities_of(entry):
                if not isinstance(identifier, str) or identifier not in loading.plans.identities:
                    raise BadRequest(f"file: agent {entry['id']}: there is no identity {identifier!r} in it.")

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Find the identities of the same keys, make the others, and let the agents belong to them."""
        for identifier, plan in loading.plans.identities.items():
            fields, properties = plan["fields"], plan["properties"]
            row = await transaction.first(_of_key, key=fields["identifier_key"], project=fields.get("project_id") or "")
            if row is None:
                made = await create_identity(transaction, fields, properties, Holdings())
                loading.made[identifier] = made.id
            else:
                loading.made[identifier] = row["id"]
        for entry in loading.file.section("agents"):
            for identifier in _identities_of(entry):
                await attach_agent(transaction, loading.made[identifier], loading.made[entry["id"]])


def _identities_of(entry: Mapping[str, Any]) -> list[Any]:
    own = entry.get(OWN_KEY)
    found = own.get("identity_ids") if isinstance(own, dict) else None
    return found if isinstance(found, list) else []
