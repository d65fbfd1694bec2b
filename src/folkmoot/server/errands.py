"""Requests of tools, with the key that their agent lent them: what they may do, where that takes more than the path."""

from __future__ import annotations

from folkmoot.access.principals import Errand
from folkmoot.errors import Conflict, Forbidden
from folkmoot.memory.attachments import Access
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, edit_text
from folkmoot.memory.edits import Rethink
from folkmoot.runs.messenger import DEEPEST, FARTHEST
from folkmoot.server.wire.blocks import UpdateBlock
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction


async def overwrite(
    transaction: Transaction, block_id: str, body: UpdateBlock, author: Author, expected: int | None, access: Access
) -> tuple[Block, Block]:
    """Give a block another text as an agent may, which changes nothing else of it.

    Raises:
        Forbidden: the agent may not overwrite it, or something else was to be changed.
    """
    if body.value is None or any(value is not None for name, value in body.changes().items() if name != "value"):
        raise Forbidden("An agent's tool changes the value of a block and nothing else of it.")
    return await edit_text(transaction, block_id, Rethink(body.value), author, expected, access)


def check_errand(body: SendMessages, has_decisions: bool) -> None:
    """Let a tool send another agent what agents send each other: words, and nothing that a person decides or sets.

    Raises:
        Forbidden: it is something else.
    """
    if has_decisions:
        raise Forbidden("messages: an agent's tool does not decide about calls that wait for a person.")
    if any(getattr(message, "role", "user") != "user" for message in body.messages or ()):
        raise Forbidden("messages: an agent's tool speaks to other agents as a user.")
    for name in ("callback_url", "override_model", "override_system", "client_tools", "client_skills"):
        if getattr(body, name):
            raise Forbidden(f"{name}: an agent's tool does not set this for another agent's turn.")


def sent_by(errand: Errand | None, agent_id: str, *, waits: bool) -> tuple[tuple[str, ...], int]:
    """Return the agents that wait for a turn, and how many messages set each other off: none, but on an errand.

    Raises:
        Conflict: an agent would wait for itself, or too many would wait for each other or set each other off.
    """
    if errand is None:
        return (), 0
    if errand.hops >= FARTHEST:
        raise Conflict(f"{FARTHEST} messages between agents have set each other off; no further one is sent.")
    chain = (*errand.chain, errand.agent_id) if waits else ()
    if agent_id in chain or len(chain) > DEEPEST:
        raise Conflict(f"Agent {agent_id} cannot answer now: it waits for this agent, or too many wait for each other.")
    return chain, errand.hops + 1
