"""`send_message`: how agents of the older types speak."""

from __future__ import annotations

from folkmoot.tools.tool import ToolContext


async def send_message(context: ToolContext, message: str) -> str:
    """Say something to the person you are talking with; your turn ends.

    Args:
        message: What to say.
    """
    return "Sent."
