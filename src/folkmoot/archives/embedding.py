"""The job that embeds an archive's passages behind, and anew when its embedding changes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from folkmoot.archives.archives import EMBED, Archive, count_embedded, find_archive
from folkmoot.errors import ContextOverflow, NotFound, ProviderError, ProviderRejected
from folkmoot.jobs.jobs import Progress
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.models.embeddings import AT_ONCE, EmbeddingClient, check_dimensions
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.nearest import VectorTable, vector_row
from folkmoot.store.pieces import Pieces
from folkmoot.store.tables import archives, passage_vectors, passages

VECTORS = VectorTable(passage_vectors, passage_vectors.c.archive_id, passage_vectors.c.passage_id)
"""The vectors of passages; an archive is a space."""

SHORTEST_CUT = 1000
"""Characters below which a text that a model refuses is not cut any more."""

_pending = (
    select(passages.c.id, passages.c.text)
    .where(passages.c.archive_id == bindparam("archive_id"), passages.c.embedded_version < bindparam("wanted_version"))
    .order_by(passages.c.embedded_version, passages.c.search_id)
    .limit(bindparam("most"))
)
_last_place = select(func.max(passage_vectors.c.place).label("place")).where(
    passage_vectors.c.archive_id == bindparam("archive_id"), passage_vectors.c.version == bindparam("of_version")
)
_dimensions = (
    select(passage_vectors.c.dimensions)
    .where(
        passage_vectors.c.archive_id == bindparam("archive_id"), passage_vectors.c.version == bindparam("of_version")
    )
    .order_by(passage_vectors.c.place)
    .limit(1)
)
_switch = (
    update(archives)
    .where(archives.c.id == bindparam("archive_id"), archives.c.embedding_version == bindparam("wanted_version"))
    .values(searched_embedding=archives.c.embedding, searched_version=archives.c.embedding_version)
)
_others = Pieces(
    passage_vectors,
    (passage_vectors.c.archive_id == bindparam("of_archive")) & (passage_vectors.c.version != bindparam("kept")),
    ("version", "place"),
)


def embed_kind(embeddings: EmbeddingClient) -> JobKind:
    """Return the kind of job; it goes on until all is embedded, however long the provider is away."""

    async def work(active: ActiveJob) -> None:
        await _Embedding(active, embeddings.of(active.store.organization_id)).run()

    return JobKind(EMBED, work, attempts=None, yields=True)


class _Embedding:
    """One archive's embedding."""

    def __init__(self, active: ActiveJob, embeddings: EmbeddingClient) -> None:
        self._active = active
        self._embeddings = embeddings
        self._archive_id = active.job.subject_id
        self._done: int | None = None

    async def run(self) -> None:
        """Embed what has no vector of the archive's embedding, some at a time, until nothing is left."""
        while True:
            self._active.yield_if_asked()
            try:
                archive, some = await self._active.store.read(self._look)
            except NotFound:  # it was deleted, and with it all there was to do
                return
            if some:
                await self._embed(archive, some)
            elif await self._finish(archive):
                return

    async def _look(self, transaction: Transaction) -> tuple[Archive, Sequence[Row]]:
        archive = await find_archive(transaction, self._archive_id)
        if self._done is None:
            self._done = await count_embedded(transaction, archive)
        return archive, await self._pending(transaction, archive, AT_ONCE)

    async def _pending(self, transaction: Transaction, archive: Archive, most: int) -> Sequence[Row]:
        if archive.embedding is None:
            return []
        return await transaction.all(
            _pending, archive_id=archive.id, wanted_version=archive.embedding_version, most=most
        )

    async def _embed(self, archive: Archive, some: Sequence[Row]) -> None:
        assert archive.embedding is not None
        try:
            vectors = await self._embeddings.embed(archive.embedding, [row["text"] for row in some])
        except (ProviderRejected, ContextOverflow) as error:
            if len(some) > 1:  # one of them is to blame: each by itself
                for row in some:
                    await self._embed(archive, [row])
                return
            vector = await self._of_shorter(archive.embedding, some[0]["text"], error)
            await self._store(archive, some, [vector], None if vector is not None else error.message)
            return
        await self._store(archive, some, vectors)

    async def _of_shorter(self, handle: str, text: str, refused: ProviderError) -> list[float] | None:
        """Return the vector of a text's beginning when the whole is refused; None when the text itself is at fault.

        Raises:
            ProviderError: the model refuses any text.
        """
        while len(text) > SHORTEST_CUT:
            text = text[: len(text) // 2]
            try:
                return (await self._embeddings.embed(handle, [text]))[0]
            except (ProviderRejected, ContextOverflow):
                continue
        try:
            await self._embeddings.embed(handle, ["text"])
        except (ProviderRejected, ContextOverflow):
            raise refused from None
        return None

    async def _store(
        self, archive: Archive, some: Sequence[Row], vectors: Sequence[list[float] | None], error: str | None = None
    ) -> None:
        """Store vectors of passages that are still there, unless the archive is to be embedded otherwise by now."""
        ids = [row["id"] for row in some]
        kept = select(passages.c.id).where(passages.c.id.in_(ids)).with_for_update(read=True, key_share=True)

        async def write(transaction: Transaction) -> None:
            if (await find_archive(transaction, archive.id)).embedding_version != archive.embedding_version:
                return
            there = {row["id"] for row in await transaction.all(kept)}
            which = {"archive_id": archive.id, "of_version": archive.embedding_version}
            check_dimensions(vectors, await transaction.first(_dimensions, **which), "archive", "passages")
            last = await transaction.first(_last_place, **which)
            place = 0 if last is None or last["place"] is None else last["place"] + 1
            rows = [
                {
                    "archive_id": archive.id,
                    "version": archive.embedding_version,
                    "place": place + number,
                    "passage_id": passage_id,
                    **vector_row(self._active.store.engine, vector),
                }
                for number, (passage_id, vector) in enumerate(zip(ids, vectors, strict=True))
                if vector is not None and passage_id in there
            ]
            await transaction.insert(passage_vectors, rows)
            await transaction.run(
                update(passages)
                .where(passages.c.id.in_(ids))
                .values(embedded_version=archive.embedding_version, embedding_error=error)
            )

        self._done = (self._done or 0) + len(some)
        progress = Progress("embedding", items_done=self._done, items_total=max(archive.passage_count, self._done))
        try:
            await self._active.commit(write, progress)
        except NotFound:
            return  # the archive was deleted meanwhile

    async def _finish(self, archive: Archive) -> bool:
        """Let searches use the new vectors, forget those of earlier embeddings, and end unless something came in."""

        async def switch(transaction: Transaction) -> None:
            await transaction.run(_switch, archive_id=archive.id, wanted_version=archive.embedding_version)

        async def forget_some(transaction: Transaction) -> bool:
            kept = archive.embedding_version if archive.embedding is not None else -1
            return bool(await _others.delete(transaction, of_archive=archive.id, kept=kept))

        async def nothing_is_left(transaction: Transaction) -> bool:
            now = await find_archive(transaction, archive.id)
            return now.embedding_version == archive.embedding_version and not await self._pending(transaction, now, 1)

        first = await self._active.store.read(
            lambda transaction: transaction.first(
                _dimensions, archive_id=archive.id, of_version=archive.embedding_version
            )
        )
        if first is not None:
            await self._active.store.engine.index_vectors(passage_vectors, first["dimensions"])
        if archive.searched_version != archive.embedding_version:
            await self._active.commit(switch)
        while not await self._active.commit(forget_some):
            pass
        try:
            return await self._active.complete(nothing_is_left)
        except NotFound:
            return True
