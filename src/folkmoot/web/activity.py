"""What has happened, of every kind, as one list: edits, runs, approvals, attachments, deletions, members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeAlias

from folkmoot.access.keys import Key, list_keys
from folkmoot.agents.overview import Joined, recent_attachments
from folkmoot.memory.departures import Departure, recent_departures
from folkmoot.memory.history import EditOfBlock, recent_edits
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.summaries import RunSummary, summarise
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

Kind: TypeAlias = Literal["edit", "run", "approval", "attachment", "deletion", "member"]

KINDS: tuple[Kind, ...] = ("edit", "run", "approval", "attachment", "deletion", "member")

MOST_AT_ONCE = 40
"""Entries of one moment that a page may have beyond its size, so that none falls between two pages."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, and when, in microseconds; the field of its kind says what."""

    kind: Kind
    at: int
    edit: EditOfBlock | None = None
    run: RunSummary | None = None
    attachment: Joined | None = None
    departure: Departure | None = None
    """That something was deleted, or taken from an agent."""
    member: Key | None = None
    ended: bool = False
    """Whether the member's key was revoked, rather than made."""


async def read_activity(
    transaction: Transaction, kinds: Sequence[Kind], agent_id: str | None, before: int, limit: int
) -> list[Entry]:
    """Return the newest entries up to a moment, and all those of the moment that the last of them is of.

    Args:
        transaction: where to read.
        kinds: what is wanted.
        agent_id: of one agent only; members then have none.
        before: the moment, in microseconds.
        limit: about how many.
    """
    most = limit + MOST_AT_ONCE
    found: list[Entry] = []
    if "edit" in kinds:
        edits = await recent_edits(transaction, before, most, agent_id)
        found += [Entry("edit", each.version.created_at, edit=each) for each in edits]
    if "run" in kinds or "approval" in kinds:
        found += [each for each in await _runs(transaction, agent_id, before, most) if each.kind in kinds]
    if "attachment" in kinds:
        attachments = await recent_attachments(transaction, before, most, agent_id)
        found += [Entry("attachment", each.at, attachment=each) for each in attachments]
    if "attachment" in kinds or "deletion" in kinds:
        found += [each for each in await _departures(transaction, agent_id, before, most) if each.kind in kinds]
    if "member" in kinds and agent_id is None:
        found += [each for each in await _members(transaction) if each.at <= before]
    found.sort(key=lambda each: each.at, reverse=True)
    if len(found) <= limit:
        return found
    return list(takewhile(lambda each: each.at >= found[limit - 1].at, found))


async def _runs(transaction: Transaction, agent_id: str | None, before: int, most: int) -> list[Entry]:
    """Return runs by when they began; those that ended with a question, or answered one, are approvals."""
    wanted = RunFilter(agent_ids=[agent_id] if agent_id else (), end=before + 1)
    runs = await list_runs(transaction, wanted, Page(limit=most, order="desc"))
    return [
        Entry("approval" if _is_approval(each) else "run", each.run.created_at, run=each)
        for each in await summarise(transaction, runs)
    ]


async def _departures(transaction: Transaction, agent_id: str | None, before: int, most: int) -> list[Entry]:
    """Return what was deleted, and with the attachments what was taken from agents again."""
    return [
        Entry("attachment" if each.is_detachment else "deletion", each.at, departure=each)
        for each in await recent_departures(transaction, before, most, agent_id)
    ]


def _is_approval(summary: RunSummary) -> bool:
    return bool(summary.run.details.get("decides")) or summary.run.stop_reason == "requires_approval"


async def _members(transaction: Transaction) -> list[Entry]:
    keys = [key for key in await list_keys(transaction) if key.grants is not None and key.grants.errand is None]
    ended = [Entry("member", key.revoked_at, member=key, ended=True) for key in keys if key.revoked_at is not None]
    return [*(Entry("member", key.created_at, member=key) for key in keys), *ended]
