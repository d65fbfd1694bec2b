"""Contexts that this process read lately, so that a long one is not decoded and made into turns anew for each message.

What is kept counts only where the store still says the same: the messages' identifiers and texts are read each time
and compared by their digest, so that no edit, deletion, compaction or other process can make it stale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from folkmoot.agents.context import to_prompt_messages
from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.messages import Message, messages_in_context, texts_in_context
from folkmoot.models.prompt import PromptMessage
from folkmoot.store.engine import Transaction

FEWEST = 50
"""Messages in a context below which nothing is gained."""

MOST_BYTES = 8_000_000
"""Of all contexts that are kept, as far as they are counted: their texts, and `BYTES_OF_MESSAGE` for each message."""

BYTES_OF_MESSAGE = 1_000

Read: TypeAlias = tuple[list[Message], list[PromptMessage]]


@dataclass(frozen=True, slots=True)
class _Kept:
    messages: Sequence[Message]
    turns: Sequence[PromptMessage]
    digest: bytes
    size: int


class RecentContexts:
    """The contexts that were read last, as many as have room."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    async def read(self, transaction: Transaction, conversation: Conversation) -> Read:
        """Return the messages in a conversation's context, oldest first, and the same as turns for a model."""
        conversation_id, start = conversation.id, conversation.context_start
        if conversation.next_sequence - start < FEWEST:
            messages = await messages_in_context(transaction, conversation_id, start)
            return messages, to_prompt_messages(messages)
        texts = await texts_in_context(transaction, conversation_id, start)
        kept = self._taken(conversation_id)
        digest = blake2b(digest_size=16)
        known = 2 * len(kept.messages) if kept is not None else 0
        digest.update("\0".join(texts[:known]).encode())
        if kept is not None and known <= len(texts) and digest.digest() == kept.digest:
            newer = await messages_in_context(transaction, conversation_id, kept.messages[-1].sequence + 1)
            messages, turns = [*kept.messages, *newer], [*kept.turns, *to_prompt_messages(newer)]
        else:
            messages = await messages_in_context(transaction, conversation_id, start)
            turns = to_prompt_messages(messages)
        if 2 * len(messages) == len(texts):  # else somebody has written between the two reads
            whole = blake2b("\0".join(texts).encode(), digest_size=16).digest()
            size = sum(map(len, texts)) + BYTES_OF_MESSAGE * len(messages)
            self._keep(conversation_id, _Kept(tuple(messages), tuple(turns), whole, size))
        return messages, turns

    def _taken(self, conversation_id: str) -> _Kept | None:
        kept = self._kept.pop(conversation_id, None)
        if kept is not None:
            self._size -= kept.size
        return kept

    def _keep(self, conversation_id: str, kept: _Kept) -> None:
        self._taken(conversation_id)  # another turn may have read it meanwhile
        self._kept[conversation_id] = kept
        self._size += kept.size
        while self._size > MOST_BYTES:
            self._size -= self._kept.popitem(last=False)[1].size
