"""`conversation_search`: an agent looks up what was said earlier."""

from __future__ import annotations

import json
from typing import Literal

from folkmoot.conversations.messages import Message, said_text
from folkmoot.conversations.search import ROLES, MessageSearch, search_for
from folkmoot.store import clock
from folkmoot.tools.builtin.dates import moment
from folkmoot.tools.tool import ToolContext

LARGEST = 50
LONGEST_SHOWN = 2000
"""Characters of a message, or of the query, that the agent is shown."""

_ROLE_OF = {message_type: role for role, message_type in ROLES.items()}


async def conversation_search(
    context: ToolContext,
    query: str | None = None,
    roles: list[Literal["assistant", "user", "tool"]] | None = None,
    limit: int = 10,
    start_date: str | None = None,
    end_date: str | None = None,
) -> str:
    """Search everything that was said in your conversations, also what is no longer in your context.

    Finds messages that have words of the query, the best match first; without a query, the newest ones.

    Args:
        query: Words to look for.
        roles: Whose messages to search; everybody's when left out.
        limit: How many messages to return, 10 when left out, 50 at the most.
        start_date: Only messages from this day or time on, such as 2026-11-22 or 2026-11-22T14:30 (UTC).
        end_date: Only messages up to this day, the whole day included, or up to this time (UTC).
    """
    search = MessageSearch(
        query=query or "",
        agent_id=context.agent_id,
        roles=roles or (),
        start=moment("start_date", start_date, ends=False),
        end=moment("end_date", end_date, ends=True),
        limit=max(1, min(limit, LARGEST)),
    )
    found = await context.store.scan(await search_for(context.store, search))
    return json.dumps(
        {
            "query": query and _short(query),
            "count": len(found),
            "messages": [shown_message(each.message) for each in found],
        },
        ensure_ascii=False,
    )


def shown_message(message: Message) -> dict[str, str]:
    """Return a message as the agent is shown it."""
    return {
        "time": clock.to_datetime(message.created_at).isoformat(timespec="seconds"),
        "role": _ROLE_OF[message.message_type],
        "content": _short(said_text(message)),
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " …"
