"""The job that embeds a file's chunks behind, once the file can be searched by words."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from sqlalchemy import bindparam, func, select, update

from folkmoot.errors import ContextOverflow, FolkmootError, NotFound, ProviderError, ProviderRejected
from folkmoot.files.files import File, find_file
from folkmoot.files.folders import Folder, find_folder, topic
from folkmoot.jobs.jobs import Progress
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.models.embeddings import AT_ONCE, EmbeddingClient
from folkmoot.store import clock
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.nearest import VectorTable, vector_row
from folkmoot.store.tables import file_chunks, file_vectors, files

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


def version_of(handle: str) -> int:
    """Return the number under which a model's vectors stand."""
    return crc32(handle.encode()) & 0x7FFFFFFF


class FileEmbedder:
    """Embeds files, and tries for as long as it takes."""

    def __init__(self, embeddings: EmbeddingClient) -> None:
        """Embed with `embeddings`."""
        self._embeddings = embeddings

    @property
    def kind(self) -> JobKind:
        """The job that it does."""
        return JobKind(EMBEDDING, self._embed_file, attempts=None)

    def embeds(self, store: Store, folder: Folder) -> bool:
        """Tell whether the files of an organisation's folder are embedded."""
        return self._of(store).usable(folder.embedding) is not None

    def _of(self, store: Store) -> EmbeddingClient:
        return self._embeddings.of(store.organization_id)

    async def _embed_file(self, active: ActiveJob) -> None:
        """Embed the chunks of a file that have no vector yet, some at a time."""
        while True:
            try:
                file, folder, some = await active.store.read(lambda transaction: _look(transaction, active))
            except NotFound:
                return
            handle = self._of(active.store).usable(folder.embedding)
            if handle is not None and some:
                await self._embed(active, file, handle, some)
            elif await self._finish(active, file):
                return

    async def _embed(self, active: ActiveJob, file: File, handle: str, some: Sequence[Row]) -> None:
        texts = [f"{row['heading']}\n\n{row['text']}" if row["heading"] else row["text"] for row in some]
        try:
            vectors: list[list[float] | None] = await self._vectors(self._of(active.store), handle, texts)
            await active.commit(
                lambda transaction: _store(transaction, active, file, handle, some, vectors),
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

        async def nothing_is_left(transaction: Transaction) -> bool:
            now = await find_file(transaction, file.id, lock=True)
            if (now.version, now.chunks_embedded) != (file.version, file.chunks_embedded):
                return False
            if now.status == "embedding":
                await transaction.run(_done, file_id=file.id, now=clock.now())
                transaction.signal(topic(file.folder_id))
            return True

        try:
            return await active.complete(nothing_is_left)
        except NotFound:
            return True


async def _look(transaction: Transaction, active: ActiveJob) -> tuple[File, Folder, Sequence[Row]]:
    file = await find_file(transaction, active.job.subject_id)
    folder = await find_folder(transaction, file.folder_id)
    rows = await transaction.all(_some, file_id=file.id, of_version=file.version, from_place=file.chunks_embedded or 0)
    return file, folder, rows


async def _say(transaction: Transaction, file: File, reason: str) -> None:
    await transaction.run(_waits, file_id=file.id, reason=f"It is found by words until it is embedded: {reason}")
    transaction.signal(topic(file.folder_id))


async def _store(
    transaction: Transaction,
    active: ActiveJob,
    file: File,
    handle: str,
    some: Sequence[Row],
    vectors: Sequence[list[float] | None],
) -> None:
    """Store the vectors of chunks, unless the file has another text by now."""
    try:
        folder = await find_folder(transaction, file.folder_id, lock=True)  # its places are counted
        now = await find_file(transaction, file.id, lock=True)
    except NotFound:
        return
    if (now.version, now.chunks_embedded) != (file.version, file.chunks_embedded):
        return
    which = {"of_folder": folder.id, "of_model": version_of(handle)}
    await _check_dimensions(transaction, which, vectors)
    last = await transaction.first(_last_place, **which)
    place = 0 if last is None or last["place"] is None else last["place"] + 1
    rows = [
        {
            "folder_id": folder.id,
            "version": version_of(handle),
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


async def _check_dimensions(
    transaction: Transaction, which: dict[str, object], vectors: Sequence[list[float] | None]
) -> None:
    """Hold every vector of a folder to the dimensions of its first.

    Raises:
        ProviderError: the model sends other ones than before.
    """
    first = await transaction.first(_dimensions, **which)
    for vector in vectors:
        if first is not None and vector is not None and len(vector) != first["dimensions"]:
            raise ProviderError(
                f"The embedding model sent a vector of {len(vector)} dimensions for a folder whose files have "
                f"{first['dimensions']}. If the model was changed on purpose, name it otherwise, or make a new folder."
            )
