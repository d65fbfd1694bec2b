"""Deleting what may be large: an agent, a conversation, its messages, a block, an archive, a folder or a file.

Small things go in one transaction. Of a large one the first transaction notes the deletion, from where on nobody sees
it; it is swept behind, in pieces, and the last of them deletes what is left and the note. Other requests run between
two pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import bindparam, case, delete, func, select

from folkmoot import tracing
from folkmoot.agents.agents import delete_agent, delete_groups_of, find_agent
from folkmoot.agents.conversations import check_deletable, delete_conversation
from folkmoot.agents.folders import take_from_all
from folkmoot.archives.archives import archives_of_agent_only, delete_archive, find_archive
from folkmoot.archives.passages import OF_ARCHIVE
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.listing import clear_context, forget_ended_runs
from folkmoot.files import folders
from folkmoot.files.chunks import OF_FILE
from folkmoot.files.files import TIDYING, delete_file, find_file, hide_file
from folkmoot.files.folders import find_folder
from folkmoot.files.pieces import drop_some
from folkmoot.jobs.kinds import drop_jobs_of
from folkmoot.memory import attachments, blocks
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import delete_block, find_block
from folkmoot.memory.departures import note_departure
from folkmoot.store.deletions import Deletion, drop_note, note_deletion, unfinished_deletions
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.pieces import ROWS, Pieces
from folkmoot.store.tables import (
    agent_archives,
    agent_blocks,
    block_readers,
    block_versions,
    conversation_blocks,
    conversations,
    files,
    group_members,
    groups,
    messages,
)

CONVERSATIONS = 50
"""Conversations of an agent that are looked at for one piece."""

FILES = 50
"""Files of a folder, likewise."""

_messages = Pieces(
    messages,
    (messages.c.conversation_id == bindparam("conversation_id"))
    & messages.c.sequence.between(bindparam("first"), bindparam("last")),
    ("sequence",),
    func.length(messages.c.search_text),
)
_readers = Pieces(
    block_readers, block_readers.c.block_id == bindparam("deleted_id"), ("version", "created_at", "step_id")
)
_versions = Pieces(
    block_versions,
    block_versions.c.block_id == bindparam("deleted_id"),
    ("version",),
    case((block_versions.c.text.is_not(None), block_versions.c.length), else_=0),
)
_threads = (
    select(conversations.c.id)
    .where(conversations.c.agent_id == bindparam("agent_id"), conversations.c.id != conversations.c.agent_id)
    .order_by(conversations.c.created_at, conversations.c.id)
    .limit(CONVERSATIONS)
)
_partners = (
    select(group_members.c.agent_id)
    .join(groups, groups.c.id == group_members.c.group_id)
    .where(groups.c.manager_agent_id == bindparam("agent_id"), groups.c.owns_members.is_(True))
    .order_by(group_members.c.agent_id)
)
_files = (
    select(files.c.id)
    .where(files.c.folder_id == bindparam("folder_id"))
    .order_by(files.c.created_at, files.c.id)
    .limit(FILES)
)
_LAST = 2**62
_DELETE: Mapping[str, Callable[[Transaction, str], Awaitable[None]]] = {
    "agent": delete_agent,
    "conversation": delete_conversation,
    "block": delete_block,
    "archive": delete_archive,
    "folder": folders.delete_folder,
    "file": delete_file,
}
"""What deletes a thing of each kind, once all that was large of it has gone."""


async def remove_agent(store: Store, agent_id: str, author: Author) -> None:
    """Delete an agent with its conversations; its blocks stay, except for copies that its conversations had.

    Raises:
        NotFound: there is no such agent.
    """
    await _remove(store, Deletion("agent", agent_id), author)


async def remove_conversation(store: Store, conversation_id: str, author: Author) -> None:
    """Delete a conversation with its messages and the blocks that it has for itself.

    Raises:
        NotFound: there is no such conversation.
        BadRequest: it is its agent's main conversation.
    """
    await _remove(store, Deletion("conversation", conversation_id), author)


async def remove_messages(store: Store, conversation_id: str) -> None:
    """Delete every message of a conversation but its system message, for good; search finds them no more.

    Raises:
        NotFound: there is no such conversation.
    """
    await _remove(store, Deletion("reset", conversation_id))


async def remove_block(store: Store, block_id: str, author: Author) -> None:
    """Delete a block with its history; agents lose it from their context.

    Raises:
        NotFound: there is no such block.
    """
    await _remove(store, Deletion("block", block_id), author)


async def remove_folder(store: Store, folder_id: str, author: Author) -> None:
    """Delete a folder with its files; agents lose it, and with their last one the tools to read files.

    Raises:
        NotFound: there is no such folder.
    """
    await _remove(store, Deletion("folder", folder_id), author)


async def remove_file(store: Store, folder_id: str, file_id: str) -> None:
    """Delete a file of a folder with its text, be it read or not; agents lose it from their context.

    Raises:
        NotFound: there is no such file in that folder.
    """
    await store.read(lambda transaction: find_file(transaction, file_id, folder_id))
    await _remove(store, Deletion("file", file_id))


async def remove_archive(store: Store, archive_id: str, author: Author) -> None:
    """Delete an archive with its passages; agents lose it.

    Raises:
        NotFound: there is no such archive.
    """
    await _remove(store, Deletion("archive", archive_id), author)


async def finish_deletions(store: Store) -> None:
    """Finish what processes that are gone have begun to delete, for every organisation."""
    for deletion in await store.everywhere.read(unfinished_deletions):
        await _sweep(store.of(deletion.organization_id), deletion)


async def _remove(store: Store, wanted: Deletion, author: Author | None = None) -> None:
    """Delete something; that an author did is told for a time, of what has one."""
    with _span(wanted):
        await _remove_whole(store, wanted, author)


def _span(wanted: Deletion) -> tracing.Span:
    if wanted.kind not in ("block", "archive"):
        return tracing.span(f"delete {wanted.kind}", {"folkmoot.deleted.id": wanted.id})
    known = {"gen_ai.operation.name": "delete_memory", "gen_ai.memory.record.id": wanted.id}
    return tracing.span("delete_memory", known)


async def _remove_whole(store: Store, wanted: Deletion, author: Author | None) -> None:
    left: list[Deletion] = []

    async def begin(transaction: Transaction) -> Deletion | None:
        deletion = await _begin(transaction, wanted, author)
        left[:] = await _note_what_goes_with(transaction, deletion)
        if await _delete_piece(transaction, deletion):
            await _finish(transaction, deletion)
            return None
        await note_deletion(transaction, deletion)
        await _hide(transaction, deletion)
        return deletion

    begun = await store.write(begin)
    for deletion in (*([begun] if begun is not None else ()), *left):
        await asyncio.shield(_sweep(store, deletion))  # it goes on when the client goes away


async def _sweep(store: Store, deletion: Deletion) -> None:
    async def go_on(transaction: Transaction) -> bool:
        if not await _delete_piece(transaction, deletion):
            return False
        await _finish(transaction, deletion)
        await drop_note(transaction, deletion)
        return True

    while not await store.write(go_on):
        await asyncio.sleep(0)


async def _note_what_goes_with(transaction: Transaction, deletion: Deletion) -> list[Deletion]:
    """Note, for their own deletion, what was made for an agent by itself.

    That is who tends its memory, and the archives that no other agent has.
    """
    if deletion.kind != "agent":
        return []
    partners = [row["agent_id"] for row in await transaction.all(_partners, agent_id=deletion.id)]
    with_it = [Deletion("agent", each) for each in partners]
    for agent_id in (deletion.id, *partners):
        with_it += [Deletion("archive", each) for each in await archives_of_agent_only(transaction, agent_id)]
    for each in with_it:
        await note_deletion(transaction, each)
    return with_it


async def _begin(transaction: Transaction, wanted: Deletion, author: Author | None) -> Deletion:
    """Lock what is to be deleted; a reset is told how far it goes, and the conversation begins anew behind it."""
    name, agent_id = "", None
    if wanted.kind == "agent":
        name = (await find_agent(transaction, wanted.id, lock=True)).name
    elif wanted.kind == "block":
        name = (await find_block(transaction, wanted.id, lock=True)).label
    elif wanted.kind == "folder":
        name = (await find_folder(transaction, wanted.id, lock=True)).name
        await take_from_all(transaction, wanted.id)
    elif wanted.kind == "file":
        file = await find_file(transaction, wanted.id, lock=True)
        await drop_jobs_of(transaction, file.id, but=TIDYING)
        transaction.signal(folders.topic(file.folder_id))
    elif wanted.kind == "archive":
        await drop_jobs_of(transaction, wanted.id)  # before the archive is locked, as its job does
        name = (await find_archive(transaction, wanted.id, lock=True)).name
    elif wanted.kind == "conversation":
        conversation = await find_conversation(transaction, wanted.id, lock=True)
        check_deletable(conversation)
        name, agent_id = conversation.summary or "", conversation.agent_id
    else:
        conversation = await find_conversation(transaction, wanted.id, lock=True)
        await forget_ended_runs(transaction, conversation.id)
        await clear_context(transaction, conversation)
        return Deletion("reset", wanted.id, conversation.next_sequence)
    if author is not None and wanted.kind != "file":
        await note_departure(transaction, wanted.kind, wanted.id, name, author, agent_id)
    return wanted


async def _hide(transaction: Transaction, deletion: Deletion) -> None:
    """Take away what would show a large thing that is being deleted, beside its note."""
    if deletion.kind == "agent":
        await transaction.run(delete(agent_blocks).where(agent_blocks.c.agent_id == deletion.id))
        await delete_groups_of(transaction, deletion.id)
        transaction.signal(attachments.topic(deletion.id))
    elif deletion.kind == "block":
        for table in (agent_blocks, conversation_blocks):
            await transaction.run(delete(table).where(table.c.block_id == deletion.id))
        transaction.signal(blocks.topic(deletion.id))
        transaction.signal(blocks.labels_topic(transaction.organization_id))
    elif deletion.kind == "folder":
        await folders.hide_folder(transaction, deletion.id)
    elif deletion.kind == "file":
        await hide_file(transaction, deletion.id)
    elif deletion.kind == "archive":
        await transaction.run(delete(agent_archives).where(agent_archives.c.archive_id == deletion.id))


async def _delete_piece(transaction: Transaction, deletion: Deletion) -> bool:
    """Delete a piece, and tell whether what is left may go in one."""
    if deletion.kind == "block":
        left = await _readers.delete(transaction, deleted_id=deletion.id)
        return bool(left and await _versions.delete(transaction, left, deleted_id=deletion.id))
    if deletion.kind == "archive":
        return bool(await OF_ARCHIVE.delete(transaction, deleted_id=deletion.id))
    if deletion.kind == "conversation":
        return bool(await _delete_messages(transaction, deletion.id, 0, _LAST, ROWS))
    if deletion.kind == "reset":
        return bool(await _delete_messages(transaction, deletion.id, 1, deletion.before - 1, ROWS))
    if deletion.kind == "file":
        return bool(await _delete_text(transaction, deletion.id, ROWS))
    if deletion.kind == "folder":
        return await _delete_files(transaction, deletion.id)
    left = await _delete_messages(transaction, deletion.id, 0, _LAST, ROWS)
    threads = await transaction.all(_threads, agent_id=deletion.id) if left else ()
    for thread in threads:
        left = await _delete_messages(transaction, thread["id"], 0, _LAST, left)
        if not left:
            return False
        await delete_conversation(transaction, thread["id"])
    return bool(left) and len(threads) < CONVERSATIONS


async def _delete_messages(transaction: Transaction, conversation_id: str, first: int, last: int, most: int) -> int:
    return await _messages.delete(transaction, most, conversation_id=conversation_id, first=first, last=last)


async def _delete_files(transaction: Transaction, folder_id: str) -> bool:
    """Delete some of a folder's files, and tell whether what is left may go in one piece."""
    left = ROWS
    rows = await transaction.all(_files, folder_id=folder_id)
    for row in rows:
        left = await _delete_text(transaction, row["id"], left)
        if not left:
            return False
        await drop_jobs_of(transaction, row["id"], but=TIDYING)
        await delete_file(transaction, row["id"])
    return len(rows) < FILES


async def _delete_text(transaction: Transaction, file_id: str, most: int) -> int:
    """Delete chunks of a file, behind them what is not read yet; return how many more rows there is room for."""
    left = await OF_FILE.delete(transaction, most, deleted_id=file_id)
    if not left:
        return 0
    row = await transaction.first(select(files.c.upload_id).where(files.c.id == file_id))
    if row is not None and row["upload_id"] is not None and await drop_some(transaction, row["upload_id"]):
        return 0
    return left


async def _finish(transaction: Transaction, deletion: Deletion) -> None:
    """Delete the thing itself; another process may have been faster. What was reset stays."""
    if deletion.kind != "reset":
        await _DELETE[deletion.kind](transaction, deletion.id)
