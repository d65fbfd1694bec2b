"""Make a stretch of conversation one that every provider accepts: each tool call with its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from folkmoot.models.prompt import AssistantMessage, Image, PromptMessage, ToolReturn, UserMessage

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
    if opened_by is None or not opened_by.tool_calls:
        return [turn for turn in segment if not isinstance(turn, ToolReturn)]
    waiting = {call.id: call for call in opened_by.tool_calls}
    answers: list[PromptMessage] = []
    others: list[PromptMessage] = []
    for turn in segment:
        if not isinstance(turn, ToolReturn):
            others.append(turn)
        elif waiting.pop(turn.call_id, None) is not None:
            answers.append(turn)
    answers += [ToolReturn(call.id, call.name, UNANSWERED, failed=True) for call in waiting.values()]
    return answers + others


def with_pictures_apart(turns: Sequence[PromptMessage]) -> list[PromptMessage]:
    """Return the turns with what tools returned as text alone, and behind each reply's returns a user's message of
    their pictures: for APIs whose returns are text.
    """
    result: list[PromptMessage] = []
    shown: list[str | Image] = []
    for turn in turns:
        if isinstance(turn, ToolReturn) and turn.pictures:
            shown += [f"The pictures that {turn.name} returned:", *turn.pictures]
            turn = replace(turn, pictures=())
        elif shown and not isinstance(turn, ToolReturn):
            result.append(UserMessage(shown))
            shown = []
        result.append(turn)
    return [*result, UserMessage(shown)] if shown else result
