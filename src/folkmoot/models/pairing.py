"""Make a stretch of conversation one that every provider accepts: each tool call with its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from folkmoot.models.prompt import AssistantMessage, PromptMessage, ToolReturn

UNANSWERED = "This tool call was interrupted and has no result."


def paired(turns: Sequence[PromptMessage]) -> list[PromptMessage]:
    """Return the turns with every tool call answered directly after it.

    A call without an answer gets one that says so, as after a crash or a cancelled turn. An answer whose
    call is not in these turns is left out, as when the call has been summarised away. Answers are looked
    for up to the next assistant turn only, since some servers use the same call ids again in every step.
    """
    result: list[PromptMessage] = []
    segment: list[PromptMessage] = []
    opened_by: AssistantMessage | None = None
    for turn in turns:
        if isinstance(turn, AssistantMessage):
            result.extend(_answered(opened_by, segment))
            result.append(turn)
            segment, opened_by = [], turn
        else:
            segment.append(turn)
    result.extend(_answered(opened_by, segment))
    return result


def _answered(opened_by: AssistantMessage | None, segment: Iterable[PromptMessage]) -> list[PromptMessage]:
    waiting = {call.id: call for call in opened_by.tool_calls} if opened_by else {}
    answers: list[PromptMessage] = []
    others: list[PromptMessage] = []
    for turn in segment:
        if not isinstance(turn, ToolReturn):
            others.append(turn)
        elif waiting.pop(turn.call_id, None) is not None:
            answers.append(turn)
    answers += [ToolReturn(call.id, call.name, UNANSWERED, failed=True) for call in waiting.values()]
    return answers + others
