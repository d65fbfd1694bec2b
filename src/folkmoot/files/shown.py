"""What an agent is shown of its folders in its context: what there is, and the text of the files that it has open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from folkmoot.files.open_files import (
    AgentFile,
    Limits,
    closed_names,
    folders_of,
    limits_of,
    list_agent_files,
    open_files_of,
)
from folkmoot.files.views import view_lines
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

MOST_NAMES = 50
"""Closed files of a folder that are named."""

MOST_LISTED = 100
"""Files that are listed with an agent beside those that it sees."""


@dataclass(frozen=True, slots=True)
class ShownFolder:
    """A folder as an agent sees it: what is said of it, and the names of files that are not open."""

    name: str
    description: str | None
    instructions: str | None
    files: int
    closed: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShownFile:
    """An open file as an agent sees it: a part of its text, each line behind its number."""

    held: AgentFile
    text: str


@dataclass(frozen=True, slots=True)
class ShownFiles:
    """All of it."""

    folders: Sequence[ShownFolder] = ()
    files: Sequence[ShownFile] = ()
    limits: Limits = field(default_factory=Limits)


async def shown_files(transaction: Transaction, agent_id: str, room: int) -> ShownFiles:
    """Return what the agent is shown of its folders, as it is now; of its open files `room` bytes together at most."""
    held = await folders_of(transaction, agent_id)
    if not held:
        return ShownFiles()
    limits = await limits_of(transaction, agent_id)
    opened = (await open_files_of(transaction, agent_id))[: limits.most_open]
    share = room // max(len(opened), 1)
    limits = replace(limits, view_characters=min(limits.view_characters, share))
    folders = []
    for row in held:
        closed = await closed_names(transaction, agent_id, row["id"], MOST_NAMES)
        folders.append(ShownFolder(row["name"], row["description"], row["instructions"], row["files"], closed))
    return ShownFiles(folders, await _view(transaction, opened, limits, share), limits)


async def files_at_hand(transaction: Transaction, agent_id: str) -> ShownFiles:
    """Return the files that the agent sees, with what it is shown of them, and its newest others without a text."""
    limits = await limits_of(transaction, agent_id)
    opened = (await open_files_of(transaction, agent_id))[: limits.most_open]
    seen = await _view(transaction, opened, limits)
    has_text = {each.held.file.id for each in seen}
    listed = await list_agent_files(transaction, agent_id, Page(MOST_LISTED, order="desc"))
    others = [ShownFile(each, "") for each in listed if each.file.id not in has_text]
    return ShownFiles((), [*seen, *others], limits)


async def _view(
    transaction: Transaction, opened: Sequence[AgentFile], limits: Limits, share: int | None = None
) -> list[ShownFile]:
    shown = []
    for each in opened:
        look = partial(view_lines, transaction, each.file, each.first_line, each.last_line)
        view = await look(limits.view_characters)
        while share is not None and (size := len(view.text.encode())) > share:  # some characters are of several bytes
            view = await look(len(view.text) * share // size)
        shown.append(ShownFile(each, view.render()))
    return shown
