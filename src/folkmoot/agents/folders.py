"""Folders that agents have: attached and detached, and with the first and the last of them the tools to read files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, exists, or_, select

from folkmoot.agents.agents import find_agent, tool_ids_of, write_tools
from folkmoot.files.folders import Folder, find_folder, topic
from folkmoot.files.open_files import forget_folder, most_open, open_newest
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.several import Several
from folkmoot.store.tables import agent_folders, agent_tools, agents, folders
from folkmoot.tools.builtin import BUILTIN_TOOLS, FILE_TOOLS

_TOOLS = [BUILTIN_TOOLS[name] for name in FILE_TOOLS]
_IS_ONE = or_(*(agent_tools.c.tool_id == tool.id for tool in _TOOLS))

_detach = delete(agent_folders).where(
    agent_folders.c.agent_id == bindparam("of_agent"), agent_folders.c.folder_id == bindparam("of_folder")
)
_any = select(agent_folders.c.folder_id).where(agent_folders.c.agent_id == bindparam("of_agent")).limit(1)
_take_tools = delete(agent_tools).where(agent_tools.c.agent_id == bindparam("of_agent"), _IS_ONE)
_other = agent_folders.alias("other")
_has_it_alone = select(agent_folders.c.agent_id).where(
    agent_folders.c.folder_id == bindparam("of_folder"),
    ~exists().where(_other.c.agent_id == agent_folders.c.agent_id, _other.c.folder_id != agent_folders.c.folder_id),
)
_take_tools_of_all = delete(agent_tools).where(agent_tools.c.agent_id.in_(_has_it_alone), _IS_ONE)


async def attach_folder(transaction: Transaction, agent_id: str, folder_id: str) -> None:
    """Give the agent a folder, with its first one the tools to read files, and open its newest files.

    Attaching it again changes nothing.

    Raises:
        NotFound: there is no such agent or folder.
    """
    agent = await find_agent(transaction, agent_id, lock=True)
    folder = await find_folder(transaction, folder_id)
    row = {"agent_id": agent_id, "folder_id": folder.id, "attached_at": clock.now()}
    known = select(agent_folders).where(agent_folders.c.agent_id == agent_id, agent_folders.c.folder_id == folder_id)
    if await transaction.first(known) is not None:
        return
    await transaction.insert(agent_folders, [row])
    has = set(await tool_ids_of(transaction, agent_id))
    await write_tools(transaction, agent_id, [tool for tool in _TOOLS if tool.id not in has])
    await open_newest(transaction, agent_id, folder_id, most_open(agent.configuration))
    transaction.signal(topic(folder_id))


async def detach_folder(transaction: Transaction, agent_id: str, folder_id: str) -> None:
    """Take a folder from the agent, with its last one the tools to read files; one it does not have is no error.

    Raises:
        NotFound: there is no such agent or folder.
    """
    await find_agent(transaction, agent_id, lock=True)
    await find_folder(transaction, folder_id)
    if not await transaction.run(_detach, of_agent=agent_id, of_folder=folder_id):
        return
    await forget_folder(transaction, agent_id, folder_id)
    if await transaction.first(_any, of_agent=agent_id) is None:
        await transaction.run(_take_tools, of_agent=agent_id)
    transaction.signal(topic(folder_id))


async def set_folders(transaction: Transaction, agent_id: str, folder_ids: Sequence[str]) -> None:
    """Make these the agent's folders: detach the others, leave as they are those that stay.

    Raises:
        NotFound: there is no such agent, or no such folder.
    """
    for folder in await folders_of_agent(transaction, agent_id):
        if folder.id not in folder_ids:
            await detach_folder(transaction, agent_id, folder.id)
    for folder_id in dict.fromkeys(folder_ids):
        await attach_folder(transaction, agent_id, folder_id)


async def take_from_all(transaction: Transaction, folder_id: str) -> None:
    """Take the tools to read files from the agents that have no other folder than this one, which is to go."""
    await transaction.run(_take_tools_of_all, of_folder=folder_id)


async def folders_of_agent(transaction: Transaction, agent_id: str, page: Page | None = None) -> list[Folder]:
    """Return the agent's folders by their time of creation, all or a page of them.

    Raises:
        NotFound: there is no such agent.
    """
    await find_agent(transaction, agent_id)
    held = select(agent_folders.c.folder_id).where(agent_folders.c.agent_id == agent_id)
    statement = select(folders).where(folders.c.id.in_(held), is_kept(folders.c.id))
    if page is None:
        rows = await transaction.all(statement.order_by(folders.c.created_at, folders.c.id))
    else:
        rows = await fetch_page(transaction, statement, folders, page)
    return [Folder.from_row(row) for row in rows]


_of_agents = Several(
    lambda ids: (
        select(folders, agent_folders.c.agent_id)
        .join(agent_folders, agent_folders.c.folder_id == folders.c.id)
        .where(agent_folders.c.agent_id.in_(ids), is_kept(folders.c.id))
        .order_by(folders.c.created_at, folders.c.id)
    )
)


async def folders_of_agents(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, list[Folder]]:
    """Return each agent's folders, by their time of creation."""
    statement, ids = _of_agents(agent_ids)
    found: defaultdict[str, list[Folder]] = defaultdict(list)
    for row in await transaction.all(statement, **ids):
        found[row["agent_id"]].append(Folder.from_row(row))
    return found


async def agents_of_folder(transaction: Transaction, folder_id: str, page: Page) -> list[str]:
    """Return a page of the identifiers of the agents that have the folder, by the agents' time of creation.

    Raises:
        NotFound: there is no such folder.
    """
    await find_folder(transaction, folder_id)
    held = select(agent_folders.c.agent_id).where(agent_folders.c.folder_id == folder_id)
    statement = select(agents.c.id, agents.c.created_at).where(agents.c.id.in_(held), is_kept(agents.c.id))
    return [row["id"] for row in await fetch_page(transaction, statement, agents, page)]
