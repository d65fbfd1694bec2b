"""A block's versions: one row each, from which every earlier text can be told.

A row keeps the whole text when that is short, and else the change from the version before; every `FULL_COPY_EVERY`
versions it keeps the whole text again, so that any version is told from a bounded number of rows.
"""

from __future__ import annotations

import json

from folkmoot.identifiers import ORGANIZATION
from folkmoot.memory import deltas
from folkmoot.memory.authors import Author
from folkmoot.memory.edits import Edit, describe
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_versions

FULL_COPY_EVERY = 50
SHORT_TEXT = 500
"""Characters up to which a whole text is as cheap as a change."""

LONGEST_DESCRIPTION = 4000
"""Characters of an edit's description that a row keeps; what the edit did is in the text or the delta."""


async def record(
    transaction: Transaction,
    block_id: str,
    version: int,
    before: str | None,
    after: str,
    edit: Edit,
    author: Author,
    now: int,
) -> None:
    """Write the row of one version.

    Args:
        transaction: the one that also writes the block.
        block_id: which block.
        version: the new version's number.
        before: the text of the version before; None for the first.
        after: the text of this version.
        edit: what was asked for.
        author: who asked.
        now: when, in microseconds.
    """
    whole = before is None or len(after) <= SHORT_TEXT or version % FULL_COPY_EVERY == 0
    await transaction.insert(
        block_versions,
        [
            {
                "organization_id": ORGANIZATION,
                "block_id": block_id,
                "version": version,
                "text": after if whole else None,
                "delta": None if whole or before is None else deltas.encode(before, after),
                "edit": _description(edit),
                "author_type": author.type,
                "author_id": author.id,
                "author_name": author.name,
                "run_id": author.run_id,
                "step_id": author.step_id,
                "created_at": now,
            }
        ],
    )


def _description(edit: Edit) -> str:
    """Return the edit as JSON, its long texts clipped: they stand in the version's own text."""
    described = {
        name: value[:LONGEST_DESCRIPTION] if isinstance(value, str) else value for name, value in describe(edit).items()
    }
    return json.dumps(described)
