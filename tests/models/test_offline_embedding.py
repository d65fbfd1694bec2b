"""The embedding model of `folkmoot[embed]`: what it finds, without a network, and what is said where it is missing."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import tokenizers
from tokenizers import Tokenizer

from folkmoot.errors import BadRequest, NotFound
from folkmoot.models import offline_embedding
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.embeddings import EmbeddingClient
from folkmoot.settings import Settings
from folkmoot.store.vectors import similarity

HANDLE = "offline/wordllama"
QUESTIONS_AND_ANSWERS = {
    "a sick kitten": "The cat was ill, so we called the veterinarian.",
    "how the firm earned its money": "Revenue of the company rose by ten percent over the last quarter.",
    "a dish of pasta": "We boiled spaghetti and made a sauce of tomatoes.",
    "travelling by train": "The railway carriage left the station at noon.",
    "bad weather": "Heavy rain and a storm are expected tomorrow.",
    "fixing a software fault": "The programmer found the bug and corrected the code.",
    "music for the piano": "She composed a sonata for a keyboard instrument.",
    "growing vegetables": "In the garden he planted carrots, beans and lettuce.",
}
"""Questions, and texts that answer them without one of their words that carry meaning."""


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **_: Any) -> None:
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def client() -> EmbeddingClient:
    return EmbeddingClient(Settings(), {})


@pytest.mark.usefixtures("without_network")
async def test_texts_are_found_by_meaning_without_a_network(client: EmbeddingClient) -> None:
    questions, answers = list(QUESTIONS_AND_ANSWERS), list(QUESTIONS_AND_ANSWERS.values())
    wanted, kept = await client.embed(HANDLE, questions, "query"), await client.embed(HANDLE, answers)
    assert {len(vector) for vector in [*wanted, *kept]} == {256}
    for vector, own in zip(wanted, kept, strict=True):
        assert max(kept, key=lambda other: similarity(vector, other)) == own
    assert await client.embed(HANDLE, answers) == kept


@pytest.mark.usefixtures("without_network")
async def test_of_a_long_text_the_beginning_counts_and_the_event_loop_goes_on(client: EmbeddingClient) -> None:
    (warm,) = await client.embed(HANDLE, ["a heron"])
    long = "a heron stands by the water and waits for fish. " * 2_000
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    whole, beginning = await client.embed(HANDLE, [long, long[: offline_embedding.LONGEST_TEXT]])
    ticking.cancel()
    assert whole == beginning
    assert ticks > 10
    emoji, words = await client.embed(HANDLE, ["🦩", "\u202e 鷺 \x01"])
    assert len({tuple(vector) for vector in (warm, emoji, words)}) == 3


@pytest.fixture
def without_switches() -> Iterator[None]:
    """No thread is made to let go of the interpreter's lock: others run only where it is given up."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("without_switches")
async def test_the_event_loop_goes_on_while_a_text_of_rare_characters_is_cut(
    client: EmbeddingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer needs some tenths of a second for such a text; it may not keep the interpreter's lock meanwhile."""
    ticks, meanwhile = 0, 0

    class Watched:
        def __init__(self, tokenizer: Any) -> None:
            self._tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            called = getattr(self._tokenizer, name)

            def watch(*args: Any, **named: Any) -> Any:
                nonlocal meanwhile
                before = ticks
                result = called(*args, **named)
                meanwhile += ticks - before
                return result

            return watch

    class Opened:
        @staticmethod
        def from_file(path: str) -> Watched:
            return Watched(Tokenizer.from_file(path))

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(tokenizers, "Tokenizer", Opened)
    await client.embed(HANDLE, ["a heron"])
    meanwhile, ticking = 0, asyncio.create_task(tick())
    await client.embed(HANDLE, ["🦩鷺" * (offline_embedding.LONGEST_TEXT // 2)])
    ticking.cancel()
    assert meanwhile > 10


async def test_it_is_listed_and_named_only_where_it_is_installed(
    client: EmbeddingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(Settings(), {})
    (listed,) = await catalogue.embedding_models()
    assert (listed.handle, listed.embedding_dimensions, listed.kind) == (HANDLE, 256, "embedding")
    assert HANDLE not in [model.handle for model in await catalogue.models()]
    assert client.handle_of(HANDLE) == client.usable(HANDLE) == HANDLE
    monkeypatch.setattr(offline_embedding, "find_spec", lambda _: None)
    assert await catalogue.embedding_models() == []
    assert client.usable(HANDLE) is None
    with pytest.raises(BadRequest, match=r"embedding: .*not installed.*folkmoot\[embed\]"):
        client.handle_of(HANDLE)
    with pytest.raises(NotFound, match=r"folkmoot\[embed\]"):
        await client.embed(HANDLE, ["text"])


def test_other_offline_models_make_no_embeddings(client: EmbeddingClient) -> None:
    with pytest.raises(BadRequest, match=f"offline there is {HANDLE}"):
        client.handle_of("offline/notetaker")
