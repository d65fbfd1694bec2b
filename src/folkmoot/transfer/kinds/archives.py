"""Archives with their passages, which other readers of a file pass over; their meaning is looked for anew here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, or_, select

from folkmoot.archives.archives import NewArchive, create_archive
from folkmoot.archives.attachments import archives_of_agent, attach_archive
from folkmoot.archives.passages import COLUMNS, NewPassage, Passage, add_passages
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import passages
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.kinds.blocks import ACCESSES
from folkmoot.transfer.message_rows import OWN_KEY

MOST_PASSAGES = 20_000
"""Passages of all archives that a file carries."""

AT_ONCE = 500

_next = (
    select(*COLUMNS)
    .where(
        passages.c.archive_id == bindparam("of"),
        or_(
            passages.c.stored_at > bindparam("at"),
            (passages.c.stored_at == bindparam("at")) & (passages.c.id > bindparam("behind")),
        ),
    )
    .order_by(passages.c.stored_at, passages.c.id)
    .limit(AT_ONCE)
)


class Archives:
    """Our own section `archives`, and of each agent which it has."""

    async def export(self, exporting: Exporting) -> None:
        """Add the archives of the agents, each once."""
        exporting.own["archives"], left = [], MOST_PASSAGES
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            entry[OWN_KEY]["archives"] = {}
            for attached in await archives_of_agent(exporting.transaction, agent.id):
                archive = attached.archive
                new = exporting.ids.known(archive.id) == archive.id
                identifier = exporting.ids.of("archive", archive.id)
                entry[OWN_KEY]["archives"][identifier] = attached.access
                if not new:
                    continue
                left -= archive.passage_count
                if left < 0:
                    raise InvalidInput(
                        f"agent_id: its archives have more than {MOST_PASSAGES:,} passages, and a file takes no more. "
                        "Detach one, or back the database up."
                    )
                exporting.own["archives"].append(
                    {
                        "id": identifier,
                        "name": archive.name,
                        "description": archive.description,
                        "embedding": archive.embedding,
                        "embedding_config": dict(archive.embedding_config) or None,
                        "metadata": dict(archive.metadata),
                        "is_of_agent": archive.made_for == agent.id,
                        "passages": await _passages(exporting.transaction, archive.id),
                    }
                )

    def prepare(self, loading: Loading) -> None:
        """Make ready what passages are found by."""
        count = sum(len(archive["passages"]) for archive in loading.plans.archives.values())
        if count > MOST_PASSAGES:
            raise BadRequest(f"file: has {count:,} passages, and {MOST_PASSAGES:,} are taken at once.")
        for entry in loading.file.section("agents"):
            for identifier, access in _archives_of(entry).items():
                if identifier not in loading.plans.archives or access not in ACCESSES:
                    raise BadRequest(
                        f"file: agent {entry['id']}: {identifier!r} with {access!r} is no archive it may have."
                    )
        for identifier, archive in loading.plans.archives.items():
            loading.prepared[f"passages {identifier}"] = [NewPassage.of(**each) for each in archive["passages"]]

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make the archives that agents of the file have."""
        for entry in loading.file.section("agents"):
            agent_id = loading.made[entry["id"]]
            for identifier, access in _archives_of(entry).items():
                if identifier not in loading.made:
                    await _make(loading, transaction, identifier, agent_id)
                await attach_archive(transaction, agent_id, loading.made[identifier], access)


async def _passages(transaction: Transaction, archive_id: str) -> list[dict[str, Any]]:
    found: list[Passage] = []
    while rows := await transaction.all(
        _next, of=archive_id, at=found[-1].stored_at if found else -1, behind=found[-1].id if found else ""
    ):
        found += [Passage.from_row(row) for row in rows]
    return [
        {
            "text": each.text,
            "tags": list(each.tags),
            "metadata": dict(each.metadata),
            "created_at": each.created_at,
        }
        for each in found
    ]


def _archives_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    own = entry.get(OWN_KEY)
    found = own.get("archives") if isinstance(own, dict) else None
    return found if isinstance(found, dict) else {}


async def _make(loading: Loading, transaction: Transaction, identifier: str, agent_id: str) -> None:
    plan = loading.plans.archives[identifier]
    new = NewArchive(
        name=plan["name"],
        description=plan["description"],
        embedding=plan["embedding"],
        embedding_config=plan["embedding_config"],
        metadata=plan["metadata"],
        made_for=agent_id if plan["is_of_agent"] else None,
    )
    archive = await create_archive(transaction, new)
    loading.made[identifier] = archive.id
    await add_passages(transaction, archive.id, loading.prepared[f"passages {identifier}"], loading.author)
