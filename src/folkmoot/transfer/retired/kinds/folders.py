"""Folders and the texts of their files, in the chunks that the retired server cut where those are pieces of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import FolkmootError
from folkmoot.files.chunking import LONGEST, Chunk, Chunker
from folkmoot.files.chunks import row_of, write_chunks
from folkmoot.files.embedding import EMBEDDING
from folkmoot.files.files import File
from folkmoot.files.folders import CHUNK_TOKENS, version_of
from folkmoot.jobs.jobs import add_job
from folkmoot.store.engine import Transaction
from folkmoot.store.nearest import vector_row
from folkmoot.store.tables import file_vectors, files, folders
from folkmoot.transfer.retired.context import DAMAGED, Context, object_of, text_of, time_of
from folkmoot.transfer.retired.vectors import vector_of

_last_vector = select(func.max(file_vectors.c.place).label("place")).where(file_vectors.c.folder_id == bindparam("of"))


@dataclass(frozen=True, slots=True)
class _Cut:
    """A chunk of a file, under the identifier and with the vector that it had, if it is one of the source's."""

    chunk: Chunk
    id: str | None = None
    vector: Sequence[float] | None = None


class Folders:
    """The tables of folders and files, but for which agent has which."""

    name = "folders"
    tables = frozenset({"sources", "files", "file_contents", "source_passages"})

    async def take(self, context: Context) -> None:
        """Take folders, and of each the files that are not here yet."""
        async for row in context.source.rows(
            "sources", "organization_id = $1", context.organization_id, order="created_at, id"
        ):
            try:
                folder = _folder(context, row)
            except DAMAGED as error:
                context.problem("sources", row, error)
                continue
            await context.put(folders, folder, "sources", row)
            if row["id"] in await context.ids(folders):
                await self._files(context, row, folder["embedding"])

    async def _files(self, context: Context, folder: Mapping[str, Any], handle: str | None) -> None:
        async for row in context.source.rows("files", "source_id = $1", folder["id"], order="created_at, id"):
            if row["id"] in await context.ids(files):
                context.done.there["files"] += 1
                await context.count_there(("file_contents", "source_passages"), "file_id", row["id"])
                continue
            try:
                await _take_file(context, row, folder, handle)
            except FolkmootError as error:
                context.problem("files", row, f"cannot be written: {error.message}")
            except DAMAGED as error:
                context.problem("files", row, error)
            context.progress("files", context.done.taken["files"], context.done.source["files"])


def _folder(context: Context, row: Mapping[str, Any]) -> dict[str, Any]:
    config = object_of(row.get("embedding_config"))
    configuration = {"embedding_config": config, "metadata": object_of(row.get("metadata_")) or None}
    return {
        "id": row["id"],
        "name": clean_text(row["name"]),
        "description": text_of(row.get("description")),
        "instructions": text_of(row.get("instructions")),
        "embedding": context.embedding(config),
        "configuration": json.dumps(configuration),
        "created_at": time_of(row),
        "updated_at": time_of(row, "updated_at"),
    }


async def _take_file(context: Context, row: Mapping[str, Any], folder: Mapping[str, Any], handle: str | None) -> None:
    contents = await context.source.all("file_contents", "file_id = $1", row["id"], order="created_at DESC")
    pieces = await context.source.all("source_passages", "file_id = $1", row["id"], order="created_at, id")
    text = clean_text(contents[0]["text"]) if contents else ""
    cuts = await asyncio.to_thread(_cuts, context, text, pieces, folder, row, handle)
    embedded = bool(cuts) and all(cut.vector is not None for cut in cuts)
    file = _file(row, folder, text, cuts, waits=handle is not None and bool(cuts) and not embedded)
    if not contents:
        context.note(f"files {row['id']} {file.original_name!r}: comes without a text, which is not in the source.")
    if pieces and not any(cut.id for cut in cuts):
        context.note(
            f"source_passages: the {len(pieces)} of {file.original_name!r} are no pieces of its text, which is cut and "
            "embedded anew."
        )

    async def write(transaction: Transaction) -> None:
        columns = {name: getattr(file, name) for name in files.c.keys() if hasattr(file, name)}  # noqa: SIM118
        await transaction.insert(files, [{n: v for n, v in columns.items() if n != "organization_id"}])
        rows = [row_of(cut.chunk, file, 1, place) for place, cut in enumerate(cuts)]
        rows = [{**each, "id": cut.id or each["id"]} for each, cut in zip(rows, cuts, strict=True)]
        await write_chunks(transaction, rows)
        if embedded and handle is not None:
            await _write_vectors(context, transaction, folder["id"], handle, rows, cuts)
        if file.status == "embedding":
            await add_job(transaction, EMBEDDING, file.id, parent_id=folder["id"])

    await context.write(write)
    (await context.ids(files)).add(row["id"])
    context.done.taken["files"] += 1
    context.done.taken["file_contents"] += len(contents)
    context.done.taken["source_passages"] += len(pieces)


def _cuts(
    context: Context,
    text: str,
    pieces: Sequence[Mapping[str, Any]],
    folder: Mapping[str, Any],
    row: Mapping[str, Any],
    handle: str | None,
) -> list[_Cut]:
    """Return a text in chunks: the source's, if they stand in it one behind the other, else such as are cut here."""
    starts = _starts(text, [clean_text(piece["text"]) for piece in pieces])
    if starts is None:
        size = object_of(folder.get("embedding_config")).get("embedding_chunk_size")
        markdown = (row.get("file_type") or "") in ("text/x-markdown", "text/markdown")
        chunker = Chunker(size if isinstance(size, int) and size > 0 else CHUNK_TOKENS, headings=markdown)
        return [_Cut(chunk) for chunk in (*chunker.feed(text), *chunker.finish())]
    cuts = []
    for piece, start, end in zip(pieces, starts, [*starts[1:], len(text)], strict=True):
        part, first = text[start:end], text.count("\n", 0, start) + 1
        last = first + part.count("\n") - part.endswith("\n")
        own = context.embedding(piece.get("embedding_config")) == handle
        vector = vector_of(piece) if handle is not None and own else None
        cuts.append(_Cut(Chunk(part, start, first, last, None), piece["id"], vector))
    return cuts


def _starts(text: str, pieces: Sequence[str]) -> list[int] | None:
    """Return where each piece begins, the first at 0 and each next one behind it; None where they are not of the text.

    >>> _starts("one two three", ["one", "two"]), _starts("one two", ["three", "two"]), _starts("{}", ["a"])
    ([0, 4], None, [0])
    """
    if len(pieces) == 1 and 0 < len(text) <= LONGEST:
        return [0]
    if not pieces:
        return None
    starts, at = [], 0
    for piece in pieces:
        at = text.find(piece, at) if piece else -1
        if at < 0:
            return None
        starts.append(at)
        at += 1
    starts = [0, *starts[1:]]
    ends = [*starts[1:], len(text)]
    return starts if all(end - start <= LONGEST for start, end in zip(starts, ends, strict=True)) else None


def _file(row: Mapping[str, Any], folder: Mapping[str, Any], text: str, cuts: Sequence[_Cut], *, waits: bool) -> File:
    name = clean_text(row.get("file_name") or row.get("original_file_name") or row["id"])
    inner = name.removeprefix(f"{folder['name']}/")
    failed = row.get("processing_status") == "error" or not text
    why = row.get("error_message") or ("The server that it comes from has no text of it." if not text else None)
    return File(
        id=row["id"],
        organization_id="",
        folder_id=folder["id"],
        folder_name=folder["name"],
        name=inner,
        original_name=clean_text(row.get("original_file_name") or inner),
        media_type=row.get("file_type") or "application/octet-stream",
        size=row.get("file_size") or len(text.encode()),
        status="error" if failed else "embedding" if waits else "completed",
        error=text_of(why) if failed else None,
        version=1 if text else 0,
        uploads=1,
        upload_id=None,
        characters=len(text),
        lines=text.count("\n") + (bool(text) and not text.endswith("\n")),
        chunks=len(cuts),
        chunks_embedded=0 if waits or failed else len(cuts),
        created_at=time_of(row),
        updated_at=time_of(row, "updated_at"),
    )


async def _write_vectors(
    context: Context,
    transaction: Transaction,
    folder_id: str,
    handle: str,
    rows: Sequence[Mapping[str, Any]],
    cuts: Sequence[_Cut],
) -> None:
    last = await transaction.first(_last_vector, of=folder_id)
    place = 0 if last is None or last["place"] is None else last["place"] + 1
    vectors = [
        {
            "folder_id": folder_id,
            "version": version_of(handle),
            "place": place + number,
            "chunk_id": row["id"],
            **vector_row(context.store.engine, cut.vector or ()),
        }
        for number, (row, cut) in enumerate(zip(rows, cuts, strict=True))
    ]
    await transaction.insert(file_vectors, vectors)
