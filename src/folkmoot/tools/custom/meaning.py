"""Ranking tools by meaning: their texts as vectors, which are made when first needed and kept in memory.

There are few tools and they seldom change, so that making them anew after a start costs less than keeping them true.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from folkmoot.models.embeddings import AT_ONCE, Embeddings
from folkmoot.store.vectors import similarity

MOST_BYTES = 32_000_000
"""Of all vectors that are kept; those that were not used for longest go first."""

LONGEST_EMBEDDED = 4000
"""Characters of a tool's text that its vector tells."""

_REQUESTS_AT_ONCE = 4


class _Kept:
    """The vectors of texts, by model and text: who else has the same tool has the same vector."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[bytes, array[float]] = OrderedDict()
        self._size = 0

    def get(self, key: bytes) -> array[float] | None:
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: array[float]) -> None:
        self._size += len(vector) * vector.itemsize
        before = self._vectors.pop(key, None)
        self._size -= 0 if before is None else len(before) * before.itemsize
        self._vectors[key] = vector
        while self._size > MOST_BYTES and len(self._vectors) > 1:
            _, gone = self._vectors.popitem(last=False)
            self._size -= len(gone) * gone.itemsize


_kept: WeakKeyDictionary[Embeddings, _Kept] = WeakKeyDictionary()


async def by_meaning(embeddings: Embeddings, handle: str, query: str, texts: Sequence[str], most: int) -> list[int]:
    """Return the places of those texts whose meaning is closest to the query's, the closest first.

    Args:
        embeddings: embeds the query, and what of the texts was not embedded before.
        handle: the model.
        query: what is looked for.
        texts: of each tool.
        most: how many.

    Raises:
        ProviderError: the provider failed.
        NotFound: it is not configured.
    """
    (wanted,) = await embeddings.embed(handle, [query], "query")
    vectors = await _vectors(embeddings, handle, [text[:LONGEST_EMBEDDED] for text in texts])

    def ranked() -> list[int]:
        scores = [similarity(wanted, vector) if len(vector) == len(wanted) else -1.0 for vector in vectors]
        return sorted(range(len(scores)), key=lambda place: -scores[place])[:most]

    return await asyncio.to_thread(ranked)


async def _vectors(embeddings: Embeddings, handle: str, texts: Sequence[str]) -> list[array[float]]:
    kept = _kept.setdefault(embeddings, _Kept())
    keys = [hashlib.sha256(f"{handle}\0{text}".encode("utf-8", "replace")).digest() for text in texts]
    found = {key: vector for key in keys if (vector := kept.get(key)) is not None}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
    places = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def embed(some: Sequence[tuple[bytes, str]]) -> None:
        async with places:
            made = await embeddings.embed(handle, [text for _, text in some])
        for (key, _), vector in zip(some, made, strict=True):
            found[key] = array("f", vector)
            kept.put(key, found[key])

    items = list(missing.items())
    await asyncio.gather(*(embed(items[start : start + AT_ONCE]) for start in range(0, len(items), AT_ONCE)))
    return [found[key] for key in keys]
