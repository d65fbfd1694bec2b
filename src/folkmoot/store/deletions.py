"""What is being deleted: noted first, so that nobody sees it any more, then swept away in pieces.

A deletion that its process did not finish is finished by the next one, since its note stays until nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, or_, select

from folkmoot.store.engine import Transaction
from folkmoot.store.tables import deletions, messages

Kind: TypeAlias = Literal["agent", "conversation", "block", "archive", "folder", "file", "reset"]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is to go: a thing of one of these kinds, or with `reset` a conversation's messages up to `before`."""

    kind: Kind
    id: str
    before: int = 0
    organization_id: str = ""
    """Whose it is, when it is read for all organisations."""


_drop = delete(deletions).where(deletions.c.id == bindparam("deleted_id"))
_drop_this = _drop.where(deletions.c.kind == bindparam("of_kind"), deletions.c.before == bindparam("until"))
_all = select(deletions).order_by(deletions.c.organization_id, deletions.c.id)


async def note_deletion(transaction: Transaction, deletion: Deletion) -> None:
    """Note what is being deleted; it is hidden from now on."""
    await transaction.run(_drop, deleted_id=deletion.id)  # an agent's deletion takes the place of its reset
    await transaction.insert(deletions, [{"id": deletion.id, "kind": deletion.kind, "before": deletion.before}])


async def drop_note(transaction: Transaction, deletion: Deletion) -> None:
    """Forget a deletion of which nothing is left to do; one that took its place stays."""
    await transaction.run(_drop_this, deleted_id=deletion.id, of_kind=deletion.kind, until=deletion.before)


async def unfinished_deletions(transaction: Transaction) -> Sequence[Deletion]:
    """Return the deletions that are not finished."""
    return [
        Deletion(row["kind"], row["id"], row["before"], row["organization_id"]) for row in await transaction.all(_all)
    ]


def is_kept(identifier: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a thing is not being deleted."""
    return ~exists().where(deletions.c.id == identifier, deletions.c.kind != "reset")


def message_is_kept() -> ColumnElement[bool]:
    """Return the condition that a message's conversation is not being deleted, nor reset with this message."""
    reset = and_(deletions.c.before > messages.c.sequence, messages.c.sequence > 0)
    return ~exists().where(deletions.c.id == messages.c.conversation_id, or_(deletions.c.kind != "reset", reset))
