"""Archives whose vectors a test makes itself."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.archives.archives import NewArchive, create_archive
from folkmoot.archives.passages import NewPassage, add_passages
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.nearest import vector_row
from folkmoot.store.tables import passage_vectors


async def keep_vectors(store: Store, vectors: Sequence[Sequence[float]]) -> tuple[str, list[str]]:
    """Store an archive of passages with these vectors; return its identifier and theirs."""

    async def write(transaction: Transaction) -> tuple[str, list[str]]:
        author = Author("api", None, "test")
        archive = await create_archive(transaction, NewArchive("vectors"))
        made = await add_passages(transaction, archive.id, [NewPassage("", "") for _ in vectors], author)
        rows = [
            {"archive_id": archive.id, "version": 1, "place": place, "passage_id": passage.id}
            | dict(vector_row(store.engine, vector))
            for place, (passage, vector) in enumerate(zip(made, vectors, strict=True))
        ]
        await transaction.insert(passage_vectors, rows)
        return archive.id, [passage.id for passage in made]

    return await store.write(write)
