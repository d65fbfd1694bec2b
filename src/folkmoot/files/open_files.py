"""Which files an agent has open, and where: opened by itself, by its owner, or with a new upload.

An agent has `max_files_open` files open at the most; to open one more closes the one that was least recently used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, delete, func, select, update

from folkmoot.files.files import FILE_COLUMNS, OF_FOLDER, File
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import agent_files, agent_folders, agents, files, folders

MOST_OPEN = 10
"""Files that an agent may have open when its creator named no number."""

MOST_NAMED = 20
"""Files that an agent is told of when it asks for one that is not there."""

MOST_SEARCHED = 10_000
"""Files of an agent's folders that are looked through for a line."""

VIEW_CHARACTERS = 25_000
"""Characters of each of them that it is shown, likewise."""


@dataclass(frozen=True, slots=True)
class AgentFile:
    """A file of one of an agent's folders, as the agent has it. Lines count from 1, times are in microseconds."""

    agent_id: str
    file: File
    is_open: bool
    first_line: int | None
    last_line: int | None
    accessed_at: int | None

    @property
    def id(self) -> str:
        """Its identifier on the wire, `file_agent-<uuid4>`, told from those of the agent and the file."""
        return f"file_agent-{_combined(self.agent_id, self.file.id)}"

    @classmethod
    def from_row(cls, row: Row, agent_id: str) -> AgentFile:
        """Read a row of `_all_files`."""
        return cls(
            agent_id=agent_id,
            file=File.from_row(row),
            is_open=bool(row["is_open"]),
            first_line=row["first_line"],
            last_line=row["last_line"],
            accessed_at=row["accessed_at"],
        )


_views = (agent_files.c.is_open, agent_files.c.first_line, agent_files.c.last_line, agent_files.c.accessed_at)
_all_files = (
    select(*FILE_COLUMNS, *_views)
    .select_from(files)
    .join(folders, OF_FOLDER)
    .join(agent_folders, agent_folders.c.folder_id == files.c.folder_id)
    .outerjoin(
        agent_files, and_(agent_files.c.file_id == files.c.id, agent_files.c.agent_id == agent_folders.c.agent_id)
    )
    .where(agent_folders.c.agent_id == bindparam("agent_id"), is_kept(files.c.id), is_kept(folders.c.id))
)
_opened = (
    select(*files.c, *_views)
    .join(agent_files, agent_files.c.file_id == files.c.id)
    .where(agent_files.c.agent_id == bindparam("agent_id"), agent_files.c.is_open.is_(True), is_kept(files.c.id))
    .offset(0)  # so that both engines begin with it: each step would look up every file of the agent's folders
    .subquery()
)
_open_files = (
    select(*_opened.c, folders.c.name.label("folder_name"))
    .join(folders, folders.c.id == _opened.c.folder_id)
    .join(agent_folders, agent_folders.c.folder_id == _opened.c.folder_id)
    .where(agent_folders.c.agent_id == bindparam("agent_id"), is_kept(folders.c.id))
    .order_by(_opened.c.accessed_at.desc(), _opened.c.id)
)
_one = _all_files.where(files.c.id == bindparam("file_id"))
_newest_unread = (
    _all_files.where(files.c.folder_id == bindparam("folder_id"), files.c.version > 0)
    .where(agent_files.c.is_open.is_not(True))
    .order_by(files.c.created_at.desc(), files.c.id.desc())
    .limit(bindparam("most"))
)
_readable = _all_files.where(files.c.version > 0).order_by(folders.c.name, files.c.name).limit(bindparam("most"))
_closed_names = (
    select(files.c.name)
    .select_from(files)
    .outerjoin(agent_files, and_(agent_files.c.file_id == files.c.id, agent_files.c.agent_id == bindparam("agent_id")))
    .where(files.c.folder_id == bindparam("folder_id"), is_kept(files.c.id), agent_files.c.is_open.is_not(True))
    .order_by(files.c.created_at.desc(), files.c.id.desc())
    .limit(bindparam("most"))
)
_counted = (
    select(func.count()).select_from(files).where(files.c.folder_id == folders.c.id, is_kept(files.c.id))
).scalar_subquery()
_folders = (
    select(folders.c.id, folders.c.name, folders.c.description, folders.c.instructions, _counted.label("files"))
    .join(agent_folders, agent_folders.c.folder_id == folders.c.id)
    .where(agent_folders.c.agent_id == bindparam("agent_id"), is_kept(folders.c.id))
    .order_by(agent_folders.c.attached_at, folders.c.id)
)
_configuration = select(agents.c.configuration).where(agents.c.id == bindparam("agent_id"))
_openers = (
    select(agent_files.c.file_id, agent_files.c.agent_id)
    .join(files, files.c.id == agent_files.c.file_id)
    .where(files.c.folder_id == bindparam("folder_id"), agent_files.c.is_open.is_(True))
)
_change = (
    update(agent_files)
    .where(agent_files.c.agent_id == bindparam("of_agent"), agent_files.c.file_id == bindparam("of_file"))
    .values(
        is_open=bindparam("now_open"),
        first_line=bindparam("new_first"),
        last_line=bindparam("new_last"),
        accessed_at=bindparam("now"),
    )
)
_close = (
    update(agent_files)
    .where(agent_files.c.agent_id == bindparam("of_agent"), agent_files.c.file_id == bindparam("of_file"))
    .values(is_open=False, first_line=None, last_line=None)
)
_holders = (
    select(agents.c.id, agents.c.configuration)
    .join(agent_folders, agent_folders.c.agent_id == agents.c.id)
    .where(agent_folders.c.folder_id == bindparam("folder_id"), is_kept(agents.c.id))
    .order_by(agents.c.id)
)
_of_folder = delete(agent_files).where(
    agent_files.c.agent_id == bindparam("of_agent"),
    agent_files.c.file_id.in_(select(files.c.id).where(files.c.folder_id == bindparam("folder_id"))),
)


def most_open(configuration: Mapping[str, Any]) -> int:
    """Return how many files an agent may have open, by its configuration."""
    return configuration.get("max_files_open") or MOST_OPEN


def view_characters(configuration: Mapping[str, Any]) -> int:
    """Return how many characters of an open file an agent is shown, by its configuration."""
    return configuration.get("per_file_view_window_char_limit") or VIEW_CHARACTERS


@dataclass(frozen=True, slots=True)
class Limits:
    """How many files an agent may have open, and how many characters of each it is shown."""

    most_open: int = MOST_OPEN
    view_characters: int = VIEW_CHARACTERS


async def limits_of(transaction: Transaction, agent_id: str) -> Limits:
    """Return what the agent's creator or owner says of its open files."""
    row = await transaction.first(_configuration, agent_id=agent_id)
    configuration = {} if row is None else json.loads(row["configuration"])
    return Limits(most_open(configuration), view_characters(configuration))


async def folders_of(transaction: Transaction, agent_id: str) -> Sequence[Row]:
    """Return identifier, name, description, instructions and number of files of the agent's folders, as attached."""
    return await transaction.all(_folders, agent_id=agent_id)


async def folders_held(transaction: Transaction, agent_ids: Sequence[str]) -> list[str]:
    """Return the identifiers of the folders that any of these agents has."""
    statement = select(agent_folders.c.folder_id).where(agent_folders.c.agent_id.in_(list(agent_ids))).distinct()
    return [row["folder_id"] for row in await transaction.all(statement)]


async def closed_names(transaction: Transaction, agent_id: str, folder_id: str, most: int) -> list[str]:
    """Return the names of a folder's files that the agent has not open, the newest first."""
    rows = await transaction.all(_closed_names, agent_id=agent_id, folder_id=folder_id, most=most)
    return [row["name"] for row in rows]


async def readable_files(transaction: Transaction, agent_id: str, most: int = MOST_SEARCHED) -> list[File]:
    """Return the files of the agent's folders that have a text, by name."""
    return [File.from_row(row) for row in await transaction.all(_readable, agent_id=agent_id, most=most)]


async def names_of(transaction: Transaction, agent_id: str, most: int = MOST_NAMED) -> list[str]:
    """Return the names of some files of the agent's folders."""
    return [file.path for file in await readable_files(transaction, agent_id, most)]


async def find_named(transaction: Transaction, agent_id: str, path: str) -> AgentFile | None:
    """Return the file of one of the agent's folders that is called `folder/file`, or `file` where no other is."""
    folder, _, name = path.rpartition("/")
    statement = _all_files.where(files.c.name == name).params(agent_id=agent_id)
    rows = await transaction.all(statement.where(folders.c.name == folder) if folder else statement.limit(2))
    return AgentFile.from_row(rows[0], agent_id) if len(rows) == 1 else None


async def open_files_of(transaction: Transaction, agent_id: str) -> list[AgentFile]:
    """Return the files that the agent has open, those used last first."""
    return [AgentFile.from_row(row, agent_id) for row in await transaction.all(_open_files, agent_id=agent_id)]


async def find_agent_file(transaction: Transaction, agent_id: str, file_id: str) -> AgentFile | None:
    """Return a file of one of the agent's folders, or None when it is in none of them."""
    row = await transaction.first(_one, agent_id=agent_id, file_id=file_id)
    return None if row is None else AgentFile.from_row(row, agent_id)


async def list_agent_files(
    transaction: Transaction, agent_id: str, page: Page, *, is_open: bool | None = None
) -> list[AgentFile]:
    """Return a page of the files of the agent's folders, by time of creation; only open or closed ones if wanted."""
    statement = _all_files.params(agent_id=agent_id)
    if is_open is not None:
        statement = statement.where(agent_files.c.is_open.is_(True) if is_open else agent_files.c.is_open.is_not(True))
    statement = statement.where(agent_folders.c.agent_id == agent_id)
    cursors = {
        name: None if cursor is None else _file_of(agent_id, cursor)
        for name, cursor in (("after", page.after), ("before", page.before))
    }
    page = Page(page.limit, cursors["after"], cursors["before"], page.order, page.from_end)
    return [AgentFile.from_row(row, agent_id) for row in await fetch_page(transaction, statement, files, page)]


async def open_in_folder(transaction: Transaction, folder_id: str) -> Mapping[str, list[str]]:
    """Return the agents that have each of a folder's files open, by the file."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in await transaction.all(_openers, folder_id=folder_id):
        found[row["file_id"]].append(row["agent_id"])
    return found


async def open_file(
    transaction: Transaction,
    agent_id: str,
    file: File,
    most: int,
    first_line: int | None = None,
    last_line: int | None = None,
) -> list[AgentFile]:
    """Open a file for an agent, or look at another part of it; return what was closed for it.

    Args:
        transaction: where to write.
        agent_id: an agent that has the file's folder.
        file: which one.
        most: how many files the agent may have open.
        first_line: where its view begins, from 1; at the start when None.
        last_line: where it ends; as far as there is room when None.
    """
    # Somebody else may open it at the same moment, for the first time too: then there is one row, and the later view.
    row = {"agent_id": agent_id, "file_id": file.id, "is_open": True, "accessed_at": clock.now()}
    await transaction.insert(agent_files, [row], or_keep=True)
    await transaction.run(
        _change,
        of_agent=agent_id,
        of_file=file.id,
        now_open=True,
        new_first=first_line,
        new_last=last_line,
        now=row["accessed_at"],
    )
    transaction.signal(topic(agent_id))
    held = await open_files_of(transaction, agent_id)
    beyond = [each for each in held if each.file.id != file.id][max(most - 1, 0) :]
    for each in beyond:
        await transaction.run(_close, of_agent=agent_id, of_file=each.file.id)
    return beyond


async def close_file(transaction: Transaction, agent_id: str, file_id: str) -> bool:
    """Close a file; tell whether it had ever been open."""
    transaction.signal(topic(agent_id))
    return bool(await transaction.run(_close, of_agent=agent_id, of_file=file_id))


async def close_all(transaction: Transaction, agent_id: str, keep: Sequence[str] = ()) -> list[AgentFile]:
    """Close the agent's files but those of these identifiers, and return what was closed."""
    closed = [each for each in await open_files_of(transaction, agent_id) if each.file.id not in keep]
    for each in closed:
        await transaction.run(_close, of_agent=agent_id, of_file=each.file.id)
    transaction.signal(topic(agent_id))
    return closed


async def open_newest(transaction: Transaction, agent_id: str, folder_id: str, most: int) -> None:
    """Open the newest files of a folder that the agent was given, as many as there is room for."""
    held = await open_files_of(transaction, agent_id)
    room = max(most - len(held), 0)
    rows = await transaction.all(_newest_unread, agent_id=agent_id, folder_id=folder_id, most=room) if room else ()
    for row in reversed(rows):
        await open_file(transaction, agent_id, File.from_row(row), most)


async def open_for_all(transaction: Transaction, file: File) -> None:
    """Open a file that can be read now for every agent that has its folder."""
    for row in await transaction.all(_holders, folder_id=file.folder_id):
        await open_file(transaction, row["id"], file, most_open(json.loads(row["configuration"])))


async def forget_folder(transaction: Transaction, agent_id: str, folder_id: str) -> None:
    """Forget what the agent had open of a folder that it has no more."""
    await transaction.run(_of_folder, of_agent=agent_id, folder_id=folder_id)
    transaction.signal(topic(agent_id))


def topic(agent_id: str) -> str:
    """Return the signal that a commit of what this agent has open gives."""
    return f"agent_files:{agent_id}"


def _combined(one: str, other: str) -> UUID:
    """Return the identifier of a pair; combined with one of the pair's again, it gives the other.

    >>> agent, file = (f"x-{part}1f0f0b1-8a3c-4a7e-9d52-0c9a5b7f2e6d" for part in ("3", "9"))
    >>> _combined(f"x-{_combined(agent, file)}", agent) == UUID(file.partition("-")[2])
    True
    """
    first, second = (UUID(each.partition("-")[2]).int for each in (one, other))
    return UUID(int=(first ^ second) & ~_VERSION_BITS | _VERSION)


_VERSION = (4 << 76) | (2 << 62)
_VERSION_BITS = (15 << 76) | (3 << 62)
"""The bits that say that an identifier is a random one: the same in all of them."""


def _file_of(agent_id: str, cursor: str) -> str:
    """Return the identifier of the file that a cursor names, be it the file's own or the pair's."""
    if not cursor.startswith("file_agent-"):
        return cursor
    try:
        return f"file-{_combined(cursor, agent_id)}"
    except ValueError:
        return cursor
