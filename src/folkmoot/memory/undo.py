"""Taking back what a run wrote into blocks, all of it in one transaction, and nothing of what others wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from sqlalchemy import bindparam, select

from folkmoot.errors import NotFound
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, edit_block, find_block
from folkmoot.memory.edits import Refusal, Undo
from folkmoot.memory.history import Version, find_version, list_versions
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_versions, blocks

MOST_NAMED = 100
"""Later versions of others that are named for a block that is left."""

MOST_STRETCHES = 200
"""Rows of a run's versions, with those of others between, that are taken back of a block; each is read and compared."""

_of_run = (
    select(block_versions.c.block_id, block_versions.c.version, blocks.c.label)
    .join(blocks, blocks.c.id == block_versions.c.block_id)
    .where(block_versions.c.run_id == bindparam("run_id"))
    .order_by(block_versions.c.block_id, block_versions.c.version)
)


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """A block that a run wrote to, and the versions that are the run's."""

    block_id: str
    label: str
    versions: Sequence[int]


@dataclass(frozen=True, slots=True)
class UndoneBlock:
    """What became of a block that the run wrote to."""

    block_id: str
    versions: Sequence[int]
    """Those that the run wrote."""

    label: str | None
    version: int | None
    """The one at which the block is now, without what the run wrote; None when it was left as it is."""

    reason: str | None = None
    """Why it was left."""

    overtaken_by: Sequence[Version] = ()
    """Versions of others, because of which it was left."""


async def undo_run(transaction: Transaction, run_id: str, author: Author) -> list[UndoneBlock]:
    """Take back what a run wrote; a block where others have changed the same lines since is left as it is.

    Args:
        transaction: where to write.
        run_id: which run; nothing more may come from it.
        author: who is named for the new versions.
    """
    return [
        await _undo(transaction, each.block_id, each.versions, run_id, author)
        for each in await written_by(transaction, run_id)
    ]


async def written_by(transaction: Transaction, run_id: str) -> list[WrittenBlock]:
    """Return the blocks that a run wrote to, in the order of their identifiers."""
    versions: defaultdict[str, list[int]] = defaultdict(list)
    labels: dict[str, str] = {}
    for row in await transaction.all(_of_run, run_id=run_id):
        versions[row["block_id"]].append(row["version"])
        labels[row["block_id"]] = row["label"]
    return [WrittenBlock(block_id, labels[block_id], versions[block_id]) for block_id in versions]


async def _undo(
    transaction: Transaction, block_id: str, versions: Sequence[int], run_id: str, author: Author
) -> UndoneBlock:
    try:
        block = await find_block(transaction, block_id, lock=True)
    except NotFound:
        return UndoneBlock(block_id, versions, None, None, "The block is being deleted.")
    if versions[0] == 1:
        reason = "The run made this block. Delete it, or detach it, if it is not wanted."
        return UndoneBlock(block_id, versions, block.label, None, reason)
    stretches, text = _stretches(versions), block.value
    if len(stretches) > MOST_STRETCHES:
        reason = (
            f"The run wrote in turn with others {len(stretches):,} times; {MOST_STRETCHES} are taken back at once. "
            "Revert the block to an earlier version, or edit it yourself."
        )
        return UndoneBlock(block_id, versions, block.label, None, reason)
    for first, last in reversed(stretches):
        _, before = await find_version(transaction, block_id, first - 1)
        _, after = await find_version(transaction, block_id, last)
        undone = without(before, after, text)
        if undone is None:
            return await _left(transaction, block, versions, last, run_id)
        text = undone
    if text == block.value:
        return UndoneBlock(block_id, versions, block.label, block.version)
    outcome = await edit_block(transaction, block_id, Undo(run_id, text), author)
    if isinstance(outcome, Refusal):
        return UndoneBlock(block_id, versions, block.label, None, outcome.reason)
    return UndoneBlock(block_id, versions, block.label, outcome[1].version)


async def _left(transaction: Transaction, block: Block, versions: Sequence[int], last: int, run_id: str) -> UndoneBlock:
    since = await list_versions(transaction, block.id, MOST_NAMED, after=last, ascending=True)
    others = [version for version in since if version.author.run_id != run_id]
    names = ", ".join(dict.fromkeys(str(version.author) for version in others))
    reason = f"What the run wrote has been changed since, by {names}. Look at the history, and edit the block yourself."
    return UndoneBlock(block.id, versions, block.label, None, reason, others)


def without(before: str, after: str, now: str) -> str | None:
    r"""Return `now` without the change that made `after` of `before`; None when others changed the same lines since.

    >>> without("a", "a\nb", "a\nb\nc"), without("a", "a\nb", "a\nB")
    ('a\nc', None)
    """
    old, new, current = (text.split("\n") if text else [] for text in (before, after, now))
    start, kept = _same_ends(old, new)
    end = len(new) - kept  # lines start to end of `after` are the change's
    their_start, their_kept = _same_ends(new, current)
    their_end = len(new) - their_kept
    if their_start >= end:  # all that others changed stands behind it
        moved = 0
    elif their_end <= start:  # or before it
        moved = len(current) - len(new)
    else:
        return None
    return "\n".join([*current[: start + moved], *old[start : len(old) - kept], *current[end + moved :]])


def _same_ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Return how many lines at the start are the same in both, and how many others at the end."""
    start = sum(1 for _ in takewhile(_equal, zip(one, other, strict=False)))
    ends = zip(reversed(one[start:]), reversed(other[start:]), strict=False)
    return start, sum(1 for _ in takewhile(_equal, ends))


def _equal(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _stretches(versions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last of each row of versions without a gap.

    >>> _stretches([3, 4, 6])
    [(3, 4), (6, 6)]
    """
    stretches: list[tuple[int, int]] = []
    for version in versions:
        if stretches and stretches[-1][1] == version - 1:
            stretches[-1] = stretches[-1][0], version
        else:
            stretches.append((version, version))
    return stretches
