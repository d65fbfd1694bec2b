"""What a chat shows: one conversation of an agent, and the agent's others beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from folkmoot.agents.approvals import find_pending
from folkmoot.conversations.conversations import Conversation, find_conversation
from folkmoot.conversations.listing import ConversationFilter, first_words, list_conversations
from folkmoot.conversations.messages import Message, list_messages, messages_in_context, text_in
from folkmoot.errors import NotFound
from folkmoot.runs.reading import RunFilter, list_runs, runs_without_answer
from folkmoot.runs.runs import UNFINISHED, Run
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web.pictures import Picture, pictures_of
from folkmoot.web.transcript import TranscriptEntry, UnansweredTurn, transcript_of
from folkmoot.web.words import clipped

MESSAGES_SHOWN = 100
UNANSWERED_SHOWN = 50
TABS_SHOWN = 12
CLOSED_SHOWN = 50
LONGEST_TITLE = 40


@dataclass(frozen=True, slots=True)
class Tab:
    """A conversation as one chooses it: what it is called, where it is, and whether its agent works in it."""

    id: str
    title: str
    address: str
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Editing:
    """Something that was said and is being said again, differently."""

    message_id: str
    words: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, and the way to the agent's others."""

    conversation: Conversation
    title: str
    talk: Sequence[TranscriptEntry | UnansweredTurn]
    earlier: str | None
    """The message before which there are more."""
    said_in_context: Collection[str]
    """What can be said again, differently: the model still reads what came before it."""
    begins_at: str | None
    """The message in front of which everything left the context, without a summary; empty where none is said since."""
    editing: Editing | None
    run: Run | None
    """The run under way."""
    tabs: Sequence[Tab]
    more: Sequence[Tab]
    """Further open conversations, which have no tab."""
    closed: Sequence[Tab]

    @property
    def is_main(self) -> bool:
        """Whether it is the agent's main conversation, which can be neither renamed nor closed."""
        return self.conversation.id == self.conversation.agent_id

    @property
    def address(self) -> str:
        """Where it is shown."""
        return chat_address(self.conversation.agent_id, self.conversation.id)

    def address_of(self, asked: str, message_id: str) -> str:
        """Return where it is shown from a message on: to `edit` it, or what was said `before` it."""
        return chat_address(self.conversation.agent_id, self.conversation.id, **{asked: message_id})


def chat_address(agent_id: str, conversation_id: str, **asked: str) -> str:
    """Return the address of a conversation's page, with what else is asked of it.

    >>> chat_address("agent-1", "agent-1"), chat_address("agent-1", "conv-2", before="message-3")
    ('/agents/agent-1', '/agents/agent-1?conversation=conv-2&before=message-3')
    """
    named = {} if conversation_id == agent_id else {"conversation": conversation_id}
    query = urlencode({**named, **asked})
    return f"/agents/{agent_id}" + (f"?{query}" if query else "")


async def conversation_of(transaction: Transaction, agent_id: str, conversation_id: str) -> Conversation:
    """Return a conversation of an agent; its main one when none is named.

    Raises:
        NotFound: the agent has no such conversation.
    """
    found = await find_conversation(transaction, conversation_id or agent_id)
    if found.agent_id != agent_id:
        raise NotFound(f"Conversation {conversation_id} is none of agent {agent_id}")
    return found


async def title_of(transaction: Transaction, conversation: Conversation) -> str:
    """Return what a conversation is called: the name that it was given, or what was said first in it."""
    return (await _titles(transaction, [conversation]))[conversation.id]


def _beginning(conversation: Conversation, in_context: Sequence[Message]) -> str | None:
    if conversation.context_start == 1 or conversation.context_summary is not None:
        return None
    return in_context[0].id if in_context else ""


async def read_chat(
    transaction: Transaction, agent_id: str, conversation_id: str, before: str | None, edit: str | None
) -> Chat:
    """Return a conversation as its page shows it.

    Args:
        transaction: where to read.
        agent_id: whose it is.
        conversation_id: which one; the agent's main one when empty.
        before: a message; those before it are shown. None for the newest.
        edit: the message that is to be said again, differently.

    Raises:
        NotFound: the agent has no such conversation.
    """
    conversation = await conversation_of(transaction, agent_id, conversation_id)
    newest = Page(limit=MESSAGES_SHOWN, order="desc", after=before)
    messages = (await list_messages(transaction, conversation.id, newest))[::-1]
    unanswered = await _unanswered(transaction, conversation, messages, whole=before is None)
    in_context = await messages_in_context(transaction, conversation.id, conversation.context_start)
    said = {each.id: each for each in in_context if each.message_type == "user_message" and each.sender_id is None}
    pending = find_pending(in_context)
    unfinished = RunFilter([agent_id], statuses=UNFINISHED)
    runs = await list_runs(transaction, unfinished, Page(limit=LARGEST_PAGE, order="desc"))
    busy = {run.conversation_id for run in runs}
    tabs, more = await _open(transaction, conversation, busy)
    return Chat(
        conversation=conversation,
        title=await title_of(transaction, conversation),
        talk=transcript_of(messages, pending.calls if pending else (), unanswered),
        earlier=messages[0].id if len(messages) == MESSAGES_SHOWN else None,
        said_in_context=said.keys(),
        begins_at=_beginning(conversation, in_context) if before is None else None,
        editing=_editing(said[edit]) if edit in said else None,
        run=next((run for run in runs if run.conversation_id == conversation.id), None),
        tabs=tabs,
        more=more,
        closed=await _closed(transaction, agent_id),
    )


def _editing(message: Message) -> Editing:
    content = message.body["content"]
    return Editing(message.id, text_in(content), pictures_of(content))


async def _open(transaction: Transaction, shown: Conversation, busy: Collection[str]) -> tuple[list[Tab], list[Tab]]:
    """Return the tabs, those that somebody spoke in last behind the main one, and the conversations beyond them."""
    wanted = ConversationFilter(agent_id=shown.agent_id, order_by="last_message_at")
    found = await list_conversations(transaction, wanted, Page(limit=LARGEST_PAGE, order="desc"))
    first = found[:TABS_SHOWN]
    if shown.id != shown.agent_id and shown.id not in {each.id for each in first}:
        first = [shown, *first[: TABS_SHOWN - 1]]
    # In the order in which they were begun: a tab stays where it is while one speaks.
    first.sort(key=lambda each: each.created_at)
    chosen = {each.id for each in first}
    main = Tab(shown.agent_id, "main", chat_address(shown.agent_id, shown.agent_id), shown.agent_id in busy)
    more = await _tabs(transaction, [each for each in found if each.id not in chosen], busy)
    return [main, *await _tabs(transaction, first, busy)], more


async def _closed(transaction: Transaction, agent_id: str) -> list[Tab]:
    wanted = ConversationFilter(agent_id=agent_id, archived=True, order_by="last_message_at")
    return await _tabs(
        transaction, await list_conversations(transaction, wanted, Page(limit=CLOSED_SHOWN, order="desc"))
    )


async def _tabs(
    transaction: Transaction, conversations: Sequence[Conversation], busy: Collection[str] = ()
) -> list[Tab]:
    titles = await _titles(transaction, conversations)
    return [
        Tab(each.id, titles[each.id], chat_address(each.agent_id, each.id), each.id in busy) for each in conversations
    ]


async def _titles(transaction: Transaction, conversations: Sequence[Conversation]) -> dict[str, str]:
    nameless = [each.id for each in conversations if not each.summary and each.id != each.agent_id]
    said = await first_words(transaction, nameless)
    began = {each: text_in(message.body["content"]) for each, message in said.items()}
    return {
        each.id: "main"
        if each.id == each.agent_id
        else clipped(each.summary or began.get(each.id) or "new conversation", LONGEST_TITLE)
        for each in conversations
    }


async def _unanswered(
    transaction: Transaction, conversation: Conversation, messages: Sequence[Message], *, whole: bool
) -> list[Run]:
    """Return the runs without an answer from the time of these messages; `whole` is for the newest, and all since."""
    all_before = len(messages) < MESSAGES_SHOWN
    since = 0 if all_before or not messages else messages[0].created_at
    until = clock.now() if whole or not messages else messages[-1].created_at
    of = (conversation.agent_id, conversation.id)
    found = await runs_without_answer(transaction, *of, since, until, UNANSWERED_SHOWN)
    return [run for run in found if "retried_by" not in run.details]
