"""The order of a reply's parts, kept with its reasoning, so that a provider gets them back as it gave them.

A stored reply has its reasoning, its text and its calls apart. Where that is not the order in which they came, or where
they have ids at their provider, the first piece of reasoning keeps it in `provider["order"]`:

    [{"thoughts": 1}, {"text": 12, "id": "msg_1"}, {"thoughts": 2}, {"call": "call_1", "id": "fc_1"}]

12 characters of the text stand between the first thought and the next two. OpenAI refuses a reasoning item without the
item that it came before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from folkmoot.models.prompt import AssistantMessage

Order: TypeAlias = list[dict[str, Any]]


class OrderKeeper:
    """Writes the order down while a reply is read."""

    def __init__(self) -> None:
        self.order: Order = []

    def thought(self) -> None:
        """Add a piece of reasoning."""
        if self.order and "thoughts" in self.order[-1]:
            self.order[-1]["thoughts"] += 1
        else:
            self.order.append({"thoughts": 1})

    def text(self, length: int, item_id: str | None, details: Mapping[str, Any] | None) -> None:
        """Add a stretch of text."""
        phase = (details or {}).get("phase")
        self.order.append({"text": length, **_given(id=item_id, phase=phase)})

    def call(self, call_id: str, item_id: str | None) -> None:
        """Add a tool call."""
        self.order.append({"call": call_id, **_given(id=item_id)})

    @property
    def telling(self) -> bool:
        """Whether the order says more than: reasoning, then text, then calls."""
        kinds = [_KINDS[next(iter(entry))] for entry in self.order]
        return kinds != sorted(kinds) or any("id" in entry for entry in self.order)


_KINDS = {"thoughts": 0, "text": 1, "call": 2}


def order_of(turn: AssistantMessage) -> Order | None:
    """Return the order that was kept of a reply, if there is one that still fits what is left of the reply."""
    kept = next((thought.provider["order"] for thought in turn.reasoning if "order" in thought.provider), None)
    return kept if kept is not None and _fits(kept, turn) else None


def _fits(order: Sequence[Mapping[str, Any]], turn: AssistantMessage) -> bool:
    """Tell whether nothing was cut, changed or lost since: by compaction, to make room, or by an owner's edit."""
    own = sum("attached_to" not in thought.provider for thought in turn.reasoning)
    return (
        sum(entry.get("thoughts", 0) for entry in order) == own
        and sum(entry.get("text", 0) for entry in order) == len(turn.text)
        and {entry["call"] for entry in order if "call" in entry} == {call.id for call in turn.tool_calls}
    )


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
