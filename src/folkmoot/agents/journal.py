"""Where a turn stores its steps: what a run gives the loop, so that the loop needs to know nothing of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from folkmoot.agents.events import TurnEnd
from folkmoot.conversations.messages import Message
from folkmoot.store.engine import Transaction, Work

T = TypeVar("T")


class Journal(Protocol):
    """Stores a turn's steps."""

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction, to its end even when the turn is to be stopped meanwhile."""
        ...

    async def record(self, transaction: Transaction, added: Sequence[Message], end: TurnEnd | None) -> None:
        """Note, as the last thing in such a transaction, what the turn will yield of it: messages, and its end."""
        ...
