"""Folders and the texts of their files, and which of them an agent had open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, select

from folkmoot.agents.agents import Agent
from folkmoot.agents.folders import attach_folder, folders_of_agent
from folkmoot.errors import BadRequest, InvalidInput, NotFound
from folkmoot.files.chunks import whole_texts
from folkmoot.files.files import File, Upload, add_file, of_folder
from folkmoot.files.folders import Folder, create_folder, find_named_folder
from folkmoot.files.kinds import HEAD, tell_kind
from folkmoot.files.names import LONGEST_NAME, clean_name
from folkmoot.files.pieces import PIECE
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agent_files, file_pieces
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.message_rows import UnreadableRow, moment_of

_open_of = select(agent_files).where(agent_files.c.agent_id == bindparam("of"))


class Folders:
    """The sections `sources` and `files`, and each agent's `files_agents`."""

    async def export(self, exporting: Exporting) -> None:
        """Add the folders of the agents, each once, with the texts of their files."""
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            for folder in await folders_of_agent(exporting.transaction, agent.id):
                new = exporting.ids.known(folder.id) == folder.id
                entry["source_ids"].append(exporting.ids.of("source", folder.id))
                rows = await exporting.transaction.all(of_folder(folder.id))
                files = [File.from_row(row) for row in rows]
                if new:
                    await self._add(exporting, folder, files)
                entry["files_agents"] += await _open_files(exporting, agent, files)

    async def _add(self, exporting: Exporting, folder: Folder, files: list[File]) -> None:
        exporting.content["sources"].append(_folder_entry(folder, exporting))
        for file in files:
            text = (await whole_texts(exporting.transaction, [file]))[0]
            exporting.content["files"].append(_file_entry(file, text, exporting))

    def prepare(self, loading: Loading) -> None:
        """Read names and texts, and say what has none."""
        known = {entry["id"] for entry in loading.file.section("sources")}
        for entry in loading.file.section("sources"):
            name = entry.get("name")
            if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
                raise BadRequest(f"file: the folder {entry['id']} has no name that can be used: {str(name)[:80]!r}.")
        for entry in loading.file.section("files"):
            text, name = entry.get("content"), entry.get("original_file_name") or entry.get("file_name")
            source_id = entry.get("source_id")
            if not isinstance(source_id, str) or source_id not in known:
                raise BadRequest(f"file: {entry['id']} is of {source_id!r}, which is none of its sources.")
            if not isinstance(text, str) or not text:
                loading.left_out.append(f"file {name!r}: has no text ({entry.get('error_message') or 'empty'}).")
                continue
            try:
                data = text.encode("utf-8", "replace")
                cleaned = clean_name(str(name))
                upload = Upload(new_id("upload"), cleaned, len(data), tell_kind(data[:HEAD], data[-HEAD:], cleaned))
            except (InvalidInput, ValueError) as error:
                raise BadRequest(f"file: {entry['id']}: {error}") from error
            loading.prepared[entry["id"]] = (upload, data)

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make the folders, and have their files read behind this."""
        for entry in loading.file.section("sources"):
            folder = await create_folder(transaction, await _folder_fields(transaction, entry))
            loading.made[entry["id"]] = folder.id
        for entry in loading.file.section("files"):
            if entry["id"] in loading.prepared:
                upload, data = loading.prepared[entry["id"]]
                await _store(transaction, upload, data)
                file, _ = await add_file(transaction, loading.made[entry["source_id"]], upload, "suffix")
                loading.made[entry["id"]] = file.id
        for entry in loading.file.section("agents"):
            for folder_id in loading.of_agent(entry, "source_ids"):
                await attach_folder(transaction, loading.made[entry["id"]], folder_id)
            await _remember_open(loading, transaction, entry)


async def _open_files(exporting: Exporting, agent: Agent, files: list[File]) -> list[dict[str, Any]]:
    held = {row["file_id"]: row for row in await exporting.transaction.all(_open_of, of=agent.id)}
    return [
        {
            "agent_id": exporting.ids.of("agent", agent.id),
            "file_id": exporting.ids.of("file", file.id),
            "source_id": exporting.ids.of("source", file.folder_id),
            "file_name": file.path,
            "is_open": bool(held[file.id]["is_open"]),
            "visible_content": None,
            "last_accessed_at": _moment(held[file.id]["accessed_at"]),
            "start_line": held[file.id]["first_line"],
            "end_line": held[file.id]["last_line"],
        }
        for file in files
        if file.id in held
    ]


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat()


def _folder_entry(folder: Folder, exporting: Exporting) -> dict[str, Any]:
    return {
        "id": exporting.ids.of("source", folder.id),
        "name": folder.name,
        "description": folder.description,
        "instructions": folder.instructions,
        "metadata": None if folder.metadata is None else dict(folder.metadata),
        "embedding": folder.embedding,
        "embedding_config": dict(folder.embedding_config) or None,
        "embedding_chunk_size": None,
    }


def _file_entry(file: File, text: str | None, exporting: Exporting) -> dict[str, Any]:
    return {
        "id": exporting.ids.of("file", file.id),
        "source_id": exporting.ids.of("source", file.folder_id),
        "file_name": file.path,
        "original_file_name": file.original_name,
        "file_path": None,
        "file_type": file.media_type,
        "file_size": file.size,
        "file_creation_date": None,
        "file_last_modified_date": None,
        "processing_status": file.status,
        "error_message": file.error,
        "total_chunks": file.chunks,
        "chunks_embedded": file.chunks_embedded,
        "content": text,
    }


async def _folder_fields(transaction: Transaction, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a folder is made of, under a name that is free."""
    config, name = entry.get("embedding_config"), str(entry["name"])
    plain = {field: entry.get(field) for field in ("description", "instructions", "embedding")}
    fields = {field: value if isinstance(value, str) else None for field, value in plain.items()}
    size = config.get("embedding_chunk_size") if isinstance(config, dict) else None
    handle = config.get("handle") if isinstance(config, dict) else None
    try:
        await find_named_folder(transaction, name)
    except NotFound:
        free = name
    else:
        free = f"{name[: LONGEST_NAME - 9]}_{uuid4().hex[:8]}"
    return {
        **fields,
        "name": free,
        "embedding": fields["embedding"] or (handle if isinstance(handle, str) else None),
        "embedding_config": {"embedding_chunk_size": size} if isinstance(size, int) and 0 < size < 100_000 else {},
        "metadata": entry.get("metadata") if isinstance(entry.get("metadata"), dict) else None,
    }


async def _store(transaction: Transaction, upload: Upload, data: bytes) -> None:
    rows = [
        {
            "upload_id": upload.upload_id,
            "place": place,
            "data": data[place * PIECE : (place + 1) * PIECE],
            "created_at": clock.now(),
        }
        for place in range(-(-len(data) // PIECE))
    ]
    await transaction.insert(file_pieces, rows)


async def _remember_open(loading: Loading, transaction: Transaction, entry: Mapping[str, Any]) -> None:
    """Note which files the agent had been shown, and where; which are open is settled as they are read."""
    files = {each["id"] for each in loading.file.section("files")}
    for each in entry.get("files_agents") or ():
        file_id = str(each.get("file_id"))
        if file_id not in files or file_id not in loading.made:
            continue
        lines = {
            name: each.get(name) if isinstance(each.get(name), int) else None for name in ("start_line", "end_line")
        }
        try:
            accessed = moment_of(each.get("last_accessed_at"))
        except (UnreadableRow, ValueError):
            accessed = clock.now()
        row = {
            "agent_id": loading.made[entry["id"]],
            "file_id": loading.made[file_id],
            "is_open": bool(each.get("is_open")),
            "first_line": lines["start_line"],
            "last_line": lines["end_line"],
            "accessed_at": accessed,
        }
        await transaction.insert(agent_files, [row])
