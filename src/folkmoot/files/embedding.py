"""The jobs that embed the chunks of files behind: a file's once it can be searched by words, and a folder's anew."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import bindparam, func, select, update

from folkmoot.errors import ContextOverflow, FolkmootError, NotFound, ProviderRejected
from folkmoot.files.files import File, find_file
from folkmoot.files.folders import EMBEDDING_ANEW, Folder, find_folder, topic
from folkmoot.jobs.jobs import Progress
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.models.embeddings import AT_ONCE, EmbeddingClient, check_dimensions
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.nearest import VectorTable, vector_row
from folkmoot.store.pieces import Pieces
from folkmoot.store.tables import file_chunks, file_vectors, files, folders

EMBEDDING = "file_embedding"
"""The kind of the job; its subject is the file, its parent the folder."""

VECTORS = VectorTable(file_vectors, file_vectors.c.folder_id, file_vectors.c.chunk_id)
"""The vectors of chunks; a folder is a space, and each model has a version of it."""


_some = (
    select(file_chunks.c.id, file_chunks.c.heading, file_chunks.c.text)
    .where(
        file_chunks.c.file_id == bindparam("file_id"),
        file_chunks.c.version == bindparam("of_version"),
        file_chunks.c.place >= bindparam("from_place"),
    )
    .order_by(file_chunks.c.place)
    .limit(AT_ONCE)
)
_last_place = select(func.max(file_vectors.c.place).label("place")).where(
    file_vectors.c.folder_id == bindparam("of_folder"), file_vectors.c.version == bindparam("of_model")
)
_dimensions = (
    select(file_vectors.c.dimensions)
    .where(file_vectors.c.folder_id == bindparam("of_folder"), file_vectors.c.version == bindparam("of_model"))
    .limit(1)
)
_went_on = (
    update(files)
    .where(files.c.id == bindparam("file_id"))
    .values(chunks_embedded=bindparam("now_embedded"), updated_at=bindparam("now"))
)
_waits = (
    update(files)
    .where(files.c.id == bindparam("file_id"), files.c.status == "embedding")
    .values(error=bindparam("reason"))
)
_done = (
    update(files)
    .where(files.c.id == bindparam("file_id"))
    .values(status="completed", error=None, updated_at=bindparam("now"))
)

_waiting = (
    select(files.c.id)
    .where(files.c.folder_id == bindparam("of_folder"), files.c.status == "embedding", is_kept(files.c.id))
    .order_by(files.c.id)
    .limit(1)
)
_switch = (
    update(folders)
    .where(folders.c.id == bindparam("folder_id"), folders.c.embedding_changes == bindparam("still"))
    .values(earlier_embedding=None, earlier_version=None)
)
_others = Pieces(
    file_vectors,
    (file_vectors.c.folder_id == bindparam("of_folder")) & (file_vectors.c.version != bindparam("kept")),
    ("version", "place"),
)


class FileEmbedder:
    """Embeds files, and tries for as long as it takes."""

    def __init__(self, embeddings: EmbeddingClient) -> None:
        """Embed with `embeddings`."""
        self._embeddings = embeddings

    @property
    def kinds(self) -> Sequence[JobKind]:
        """The jobs that it does."""
        return (
            JobKind(EMBEDDING, self._embed_file, attempts=None, yields=True),
            JobKind(EMBEDDING_ANEW, self._embed_folder, attempts=None, yields=True),
        )

    def embeds(self, store: Store, folder: Folder) -> bool:
        """Tell whether the files of an organisation's folder are embedded."""
        return self._of(store).usable(folder.embedding) is not None

    def _of(self, store: Store) -> EmbeddingClient:
        return self._embeddings.of(store.organization_id)

    async def _embed_file(self, active: ActiveJob) -> None:
        """Embed the chunks of a file that have no vector yet, some at a time."""
        while True:
            active.yield_if_asked()
            try:
                file, folder, some = await active.store.read(lambda transaction: _look(transaction, active))
            except NotFound:
                return
            handle = self._of(active.store).usable(folder.embedding)
            if handle is not None and some:
                await self._embed(active, folder, file, handle, some)
            elif await self._finish(active, file):
                return

    async def _embed_folder(self, active: ActiveJob) -> None:
        """Embed the chunks of a folder's files by the model that it names now, file by file."""
        while True:
            active.yield_if_asked()
            try:
                folder, file, some = await active.store.read(lambda transaction: _next_of(transaction, active))
            except NotFound:
                return
            handle = self._of(active.store).usable(folder.embedding)
            if file is None:
                if await self._forget_others(active, folder, handle):
                    return
            elif handle is not None and some:
                await self._embed(active, folder, file, handle, some)
            else:
                with suppress(NotFound):  # it was deleted meanwhile
                    await active.commit(lambda transaction: _end(transaction, file))  # noqa: B023

    async def _forget_others(self, active: ActiveJob, folder: Folder, handle: str | None) -> bool:
        """Search by the folder's own embedding alone, delete the vectors of others, and end unless it changed again."""
        kept = -1 if handle is None else folder.version_of(handle)

        async def switch(transaction: Transaction) -> None:
            await transaction.run(_switch, folder_id=folder.id, still=folder.embedding_changes)

        async def forget_some(transaction: Transaction) -> bool:
            return bool(await _others.delete(transaction, of_folder=folder.id, kept=kept))

        async def nothing_is_left(transaction: Transaction) -> bool:
            now = await find_folder(transaction, folder.id, lock=True)
            unchanged = now.embedding_changes == folder.embedding_changes
            return unchanged and await transaction.first(_waiting, of_folder=folder.id) is None

        which = {"of_folder": folder.id, "of_model": kept}
        first = await active.store.read(lambda transaction: transaction.first(_dimensions, **which))
        if first is not None:
            await active.store.engine.index_vectors(file_vectors, first["dimensions"])
        await active.commit(switch)
        while not await active.commit(forget_some):
            pass
        try:
            return await active.complete(nothing_is_left)
        except NotFound:
            return True

    async def _embed(self, active: ActiveJob, folder: Folder, file: File, handle: str, some: Sequence[Row]) -> None:
        texts = [f"{row['heading']}\n\n{row['text']}" if row["heading"] else row["text"] for row in some]
        try:
            vectors: list[list[float] | None] = await self._vectors(self._of(active.store), handle, texts)
            await active.commit(
                lambda transaction: self._store(transaction, active, folder, file, handle, some, vectors),
                Progress("embedding", None, None, (file.chunks_embedded or 0) + len(some), file.chunks),
            )
        except FolkmootError as error:
            reason = error.message
            await active.commit(lambda transaction: _say(transaction, file, reason))
            raise

    async def _vectors(
        self, embeddings: EmbeddingClient, handle: str, texts: Sequence[str]
    ) -> list[list[float] | None]:
        """Return a vector for each text; None for one that the model does not take.

        Raises:
            ProviderError: the provider failed, or takes no text at all.
        """
        filled = [text if text.strip() else "-" for text in texts]
        try:
            return list(await embeddings.embed(handle, filled))
        except (ProviderRejected, ContextOverflow):
            if len(texts) == 1:
                await embeddings.embed(handle, ["text"])
                return [None]
            return [vector for text in texts for vector in await self._vectors(embeddings, handle, [text])]

    async def _finish(self, active: ActiveJob, file: File) -> bool:
        """End, unless the file has another text by now."""
        try:
            return await active.complete(lambda transaction: _end(transaction, file))
        except NotFound:
            return True

    async def _store(
        self,
        transaction: Transaction,
        active: ActiveJob,
        of: Folder,
        file: File,
        handle: str,
        some: Sequence[Row],
        vectors: Sequence[list[float] | None],
    ) -> None:
        """Store the vectors of chunks, unless the file has another text by now, or its folder another embedding."""
        try:
            folder = await find_folder(transaction, file.folder_id, lock=True)  # its places are counted
            now = await find_file(transaction, file.id, lock=True)
        except NotFound:
            return
        if (now.version, now.chunks_embedded) != (file.version, file.chunks_embedded):
            return
        if folder.embedding_changes != of.embedding_changes:
            return
        which = {"of_folder": folder.id, "of_model": folder.version_of(handle)}
        check_dimensions(vectors, await transaction.first(_dimensions, **which), "folder", "files")
        last = await transaction.first(_last_place, **which)
        place = 0 if last is None or last["place"] is None else last["place"] + 1
        rows = [
            {
                "folder_id": folder.id,
                "version": folder.version_of(handle),
                "place": place + number,
                "chunk_id": row["id"],
                **vector_row(active.store.engine, vector),
            }
            for number, (row, vector) in enumerate(zip(some, vectors, strict=True))
            if vector is not None
        ]
        await transaction.insert(file_vectors, rows)
        embedded = (file.chunks_embedded or 0) + len(some)
        await transaction.run(_went_on, file_id=file.id, now_embedded=embedded, now=clock.now())
        transaction.signal(topic(file.folder_id))


async def _look(transaction: Transaction, active: ActiveJob) -> tuple[File, Folder, Sequence[Row]]:
    file = await find_file(transaction, active.job.subject_id)
    folder = await find_folder(transaction, file.folder_id)
    rows = await transaction.all(_some, file_id=file.id, of_version=file.version, from_place=file.chunks_embedded or 0)
    return file, folder, rows


async def _next_of(transaction: Transaction, active: ActiveJob) -> tuple[Folder, File | None, Sequence[Row]]:
    """Return a file of the folder that waits for vectors, and its next chunks; None when there is none."""
    folder = await find_folder(transaction, active.job.subject_id)
    row = await transaction.first(_waiting, of_folder=folder.id)
    if row is None:
        return folder, None, ()
    try:
        file = await find_file(transaction, row["id"])
    except NotFound:  # it was deleted between the two
        return await _next_of(transaction, active)
    rows = await transaction.all(_some, file_id=file.id, of_version=file.version, from_place=file.chunks_embedded or 0)
    return folder, file, rows


async def _end(transaction: Transaction, file: File) -> bool:
    """Say that a file is embedded, unless it has another text by now; tell whether it has not."""
    now = await find_file(transaction, file.id, lock=True)
    if (now.version, now.chunks_embedded) != (file.version, file.chunks_embedded):
        return False
    if now.status == "embedding":
        await transaction.run(_done, file_id=file.id, now=clock.now())
        transaction.signal(topic(file.folder_id))
    return True


async def _say(transaction: Transaction, file: File, reason: str) -> None:
    await transaction.run(_waits, file_id=file.id, reason=f"It is found by words until it is embedded: {reason}")
    transaction.signal(topic(file.folder_id))
