"""The job that reads an upload: its bytes become text, the text chunks, and all of them at once the file's text.

What a process that died has left of it is thrown away, and the upload is read anew. It rests between two pieces, so
that nobody's turn waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from sqlalchemy import bindparam, update

from folkmoot.errors import JobFailed, NotFound
from folkmoot.files.chunking import Chunk, Chunker
from folkmoot.files.chunks import OF_VERSION, row_of, version_to_forget, write_chunks
from folkmoot.files.decoding import decoded, tell_encoding
from folkmoot.files.documents import Document
from folkmoot.files.embedding import EMBEDDING, FileEmbedder
from folkmoot.files.files import READING, TIDYING, File, find_file, have_dropped
from folkmoot.files.folders import Folder, find_folder, topic
from folkmoot.files.kinds import HEAD, tell_kind
from folkmoot.files.open_files import open_for_all
from folkmoot.files.pace import Pace
from folkmoot.files.pieces import drop_some, ends_of, read_pieces
from folkmoot.jobs.jobs import Job, Progress, add_job
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import files

CHUNKS_AT_ONCE = 24
"""Chunks that are made and written together: some milliseconds of work."""

AS_MARKDOWN = frozenset({"text/x-markdown"})
"""Media types of text whose lines that begin with # are headings; what parsers make of documents is so, too."""

_shown = (
    update(files)
    .where(files.c.id == bindparam("file_id"))
    .values(
        status=bindparam("new_status"),
        error=None,
        version=bindparam("new_version"),
        upload_id=None,
        media_type=bindparam("new_type"),
        characters=bindparam("new_characters"),
        lines=bindparam("new_lines"),
        chunks=bindparam("new_chunks"),
        chunks_embedded=0,
        updated_at=bindparam("now"),
    )
)
_failed = (
    update(files)
    .where(files.c.id == bindparam("file_id"))
    .values(status="error", error=bindparam("reason"), upload_id=None, updated_at=bindparam("now"))
)


class Text(Protocol):
    """The text of an upload, as it is read."""

    media_type: str
    has_headings: bool

    def read(self) -> AsyncGenerator[tuple[str, int], None]:
        """Yield it piece by piece, with how many of the upload's bytes are read by then.

        Raises:
            JobFailed: it cannot be read; the message says why.
        """


class PlainText:
    """A text whose bytes are its characters."""

    def __init__(self, active: ActiveJob, file: File, head: bytes, media_type: str) -> None:
        self.media_type = media_type
        self.has_headings = media_type in AS_MARKDOWN
        self._active, self._file, self._head = active, file, head

    async def read(self) -> AsyncGenerator[tuple[str, int], None]:
        """Yield it piece by piece; its encoding is told from its beginning."""
        assert self._file.upload_id is not None
        encoding = await asyncio.to_thread(tell_encoding, self._head)
        async with aclosing(decoded(read_pieces(self._active.store, self._file.upload_id), encoding)) as pieces:
            async for piece in pieces:
                yield piece


class FileReader:
    """Reads uploads, and tidies behind them."""

    def __init__(self, sandbox: Sandbox, embedder: FileEmbedder) -> None:
        """Read documents in `sandbox`, and plain text here; `embedder` sees to their meaning behind that."""
        self._sandbox = sandbox
        self._embedder = embedder
        self._pace = Pace()

    @property
    def kinds(self) -> Sequence[JobKind]:
        """The jobs that it does."""
        return (
            JobKind(READING, self._read_newest, self._say_why),
            JobKind(TIDYING, self._tidy, attempts=None, at_once=1),
            *self._embedder.kinds,
        )

    async def _read_newest(self, active: ActiveJob) -> None:
        """Read a file's newest upload, and the one that came meanwhile."""
        while True:
            try:
                file, folder = await active.store.read(lambda transaction: _find(transaction, active.job.subject_id))
            except NotFound:  # it was deleted
                return
            try:
                if file.upload_id is None or await self._read(active, file, folder):
                    return
            except JobFailed:
                if not await active.store.read(lambda transaction: _is_superseded(transaction, file)):  # noqa: B023
                    raise

    async def _read(self, active: ActiveJob, file: File, folder: Folder) -> bool:
        """Read one upload; tell whether it was still the newest when it was done."""
        await self._forget(active, file, file.uploads)
        text = await self._text_of(active, file)
        chunker = Chunker(folder.chunk_tokens, headings=text.has_headings)
        writer = _Writer(active, file, self._pace)
        async with aclosing(text.read()) as pieces:
            async for piece, read in pieces:
                await writer.write(chunker.feed(piece), read)
        await writer.write(chunker.finish(), file.size, last=True)

        async def show(transaction: Transaction) -> bool:
            now = await find_file(transaction, file.id, lock=True)
            if now.upload_id != file.upload_id:
                return False
            embeds = self._embedder.embeds(active.store, folder) and writer.count > 0
            await transaction.run(
                _shown,
                file_id=file.id,
                new_status="embedding" if embeds else "completed",
                new_version=file.uploads,
                new_type=text.media_type,
                new_characters=chunker.characters,
                new_lines=chunker.lines,
                new_chunks=writer.count,
                now=clock.now(),
            )
            if file.version == 0:
                await open_for_all(transaction, file)
            await _have_tidied(transaction, file)
            if embeds:
                await add_job(transaction, EMBEDDING, file.id, parent_id=file.folder_id)
            return True

        try:
            return await active.complete(show, writer.progress(file.size, "completed"))
        except NotFound:  # it was deleted
            return True

    async def _text_of(self, active: ActiveJob, file: File) -> Text:
        """Return how an upload's text is read.

        Raises:
            JobFailed: some of its bytes are not there.
        """
        assert file.upload_id is not None
        head, tail, size = await ends_of(active.store, file.upload_id, HEAD)
        if size != file.size:
            raise JobFailed(f"Of the {file.size:,} bytes that were uploaded {size:,} are left. Upload the file again.")
        kind = tell_kind(head, tail, file.name)
        if kind.is_text:
            return PlainText(active, file, head, kind.media_type)
        return Document(active.store, self._sandbox, file, kind)

    async def _say_why(self, transaction: Transaction, job: Job) -> None:
        """Say on the file why it could not be read; the text that it had before stays."""
        try:
            file = await find_file(transaction, job.subject_id, lock=True)
        except NotFound:
            return
        reason = job.error or "The job that read it was cancelled. Upload the file again."
        await transaction.run(_failed, file_id=file.id, reason=reason, now=clock.now())
        await _have_tidied(transaction, file)
        transaction.signal(topic(file.folder_id))

    async def _tidy(self, active: ActiveJob) -> None:
        """Delete what a file does not need any more."""
        upload_id = active.job.details["given"].get("upload_id")
        while upload_id and await active.commit(lambda transaction: drop_some(transaction, upload_id)):
            pass
        file_id = active.job.subject_id
        while not await active.complete(lambda transaction: _is_tidy(transaction, file_id)):
            file, version = await active.store.read(lambda transaction: _look(transaction, file_id))
            if file is not None and version is not None:
                await self._forget(active, file, version)

    async def _forget(self, active: ActiveJob, file: File, version: int) -> None:
        """Delete the chunks of a version, some at a time."""

        async def some(transaction: Transaction) -> int:
            return await OF_VERSION.delete(transaction, deleted_id=file.id, of_version=version)

        is_gone = 0
        while not is_gone:
            async with self._pace.piece():
                is_gone = await active.commit(some)


class _Writer:
    """Writes an upload's chunks as they are cut, and rests in between."""

    def __init__(self, active: ActiveJob, file: File, pace: Pace) -> None:
        self.count = 0
        self._active, self._file, self._pace = active, file, pace
        self._waiting: list[Chunk] = []

    async def write(self, chunks: Any, read: int, *, last: bool = False) -> None:
        """Take chunks, and write those that are enough for a transaction; with `last`, all.

        Args:
            chunks: an iterator of them.
            read: how many bytes of the upload they were cut from, those before included.
            last: no more will come.
        """
        for chunk in chunks:
            self._waiting.append(chunk)
            if len(self._waiting) == CHUNKS_AT_ONCE:
                await self._write_waiting(read)
        if last and self._waiting:
            await self._write_waiting(read)

    def progress(self, read: int, stage: str) -> Progress:
        """Return how far the job is."""
        total = self.count if stage == "completed" else None
        return Progress(stage, read, self._file.size, self.count, total)

    async def _write_waiting(self, read: int) -> None:
        file, first = self._file, self.count
        chunks, self._waiting = self._waiting, []

        def rows() -> list[dict[str, Any]]:
            return [row_of(chunk, file, file.uploads, first + place) for place, chunk in enumerate(chunks)]

        async with self._pace.piece():
            made = await asyncio.to_thread(rows)
            self.count += len(made)

            async def store(transaction: Transaction) -> None:
                await write_chunks(transaction, made)
                transaction.signal(topic(file.folder_id))

            await self._active.commit(store, self.progress(read, "parsing"))


async def _find(transaction: Transaction, file_id: str) -> tuple[File, Folder]:
    file = await find_file(transaction, file_id)
    return file, await find_folder(transaction, file.folder_id)


async def _is_superseded(transaction: Transaction, file: File) -> bool:
    """Tell whether the file was uploaded again, or deleted, since it was looked at."""
    try:
        return (await find_file(transaction, file.id)).upload_id != file.upload_id
    except NotFound:
        return True


async def _have_tidied(transaction: Transaction, file: File) -> None:
    """Have deleted what a file does not need any more whose upload was read, or could not be.

    Each upload has a job of its own: the file's may be under way still for one before.
    """
    if file.upload_id is not None:
        await have_dropped(transaction, file.upload_id, file.folder_id)
    if not await _is_tidy(transaction, file.id):
        await add_job(transaction, TIDYING, file.id, parent_id=file.folder_id)
    transaction.signal(topic(file.folder_id))


async def _is_tidy(transaction: Transaction, file_id: str) -> bool:
    """Tell whether a file has no text but what it needs; one that was deleted has none."""
    return (await _look(transaction, file_id))[1] is None


async def _look(transaction: Transaction, file_id: str) -> tuple[File | None, int | None]:
    """Return the file, and a version of its text that it does not need; None for what there is not."""
    try:
        file = await find_file(transaction, file_id)
    except NotFound:
        return None, None
    return file, await version_to_forget(transaction, file)
