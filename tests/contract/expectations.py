"""Where the recordings are not the measure: faults of the recorded server, known differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from recordings import Recording

ANYTHING = object()
"""Stands for a response that was not recorded, since the recorded server failed; only openapi.json tells its shape."""

ELSEWHERE = frozenset(
    {
        "stream steps",
        "stream tokens",
        "stream tokens tool",
        "stream via messages flag",
        "stream background",
        "conversation message stream",
        "chat completions stream",
        "agent export",
    }
)
"""Streams, whose pieces depend on the model: test_streams.py and test_conversation_stream.py compare them event by
event, in type and order. And an agent's file, which holds all that the calls before have made: tests/transfer compares
what goes out with what comes in."""

SHAPE_ONLY = {
    "run messages": "which runs there are depends on the calls made so far",
    "runs list": "the same",
    "run retrieve": "times differ",
    "run metrics": "times differ",
    "agent reset messages": "what the streamed turns left in its blocks is not there",
    "messages list": "the last messages are those of streamed turns",
    "agent context": "tokens are counted otherwise, of other tools and other words",
    "conversation messages": "the streamed turn before it is compared elsewhere",
    "conversation list": "the same",
    "block list": "the recorded server had blocks of earlier programs, which come first",
    "block list by label": "the same",
}
"""Calls whose elements are other ones than the recorded, so that only their shape can be compared."""


@dataclass(frozen=True)
class Allowed:
    """A difference that is meant; `call` and `difference` are patterns with `*`."""

    call: str
    difference: str
    reason: str

    def covers(self, call: str, difference: str) -> bool:
        """Tell whether a call's difference is this one."""
        return fnmatchcase(call, self.call) and fnmatchcase(difference, self.difference.replace("[", "[[]"))


_OWN = ("access", "created_at", "require_version", "updated_at", "updated_by", "version")
"""The fields of a block that are Folkmoot's own."""

_OF_BLOCKS = (
    *(Allowed("*", f"$*.{name}: added", "Folkmoot's own field of a block") for name in _OWN),
    Allowed("*", "$*created_by_id: a string instead of null", "a block's owner is the one user, as an agent's is"),
    Allowed("*", "$*last_updated_by_id: a string instead of null", "the same"),
    Allowed("agent * block", "$*.blocks[].tags[]: ['x'] instead of []", "the recorded server forgot a block's tags"),
    Allowed("block list", "$[].description: a string instead of null", "other blocks than the recorded"),
    Allowed("block list", "$[].metadata.k: added", "the same"),
)

_OF_AGENTS = (
    Allowed("*", "$*llm_config.display_name: a string instead of null", "the model's name"),
    Allowed("*", "$*llm_config.max_tokens: null instead of 16384", "OpenAI's list does not tell it"),
    Allowed("*", "$*llm_config.parallel_tool_calls: True instead of False", "Folkmoot runs them, and says so"),
    Allowed("*", "$*.compaction_settings.model: * instead of *", "the agent's own model writes its summaries"),
    Allowed(
        "*",
        "$*embedding_config.embedding_endpoint: null instead of a string",
        "where vectors come from is the server's affair",
    ),
    Allowed("agent *", "$.tags[]: '*' instead of '*'", "an agent's tags are sorted"),
    *(
        Allowed(
            "agent retrieve", f"$.{name}[]: * instead of []", "an agent comes with everything unless less is wanted"
        )
        for name in ("blocks", "memory.blocks", "tools", "tags")
    ),
    Allowed("folder attach", "$: an object instead of null", "the agent, as with a block"),
    Allowed("tags list", "$[]: * instead of *", "'green' is of an earlier program"),
    Allowed("agent detach block", "$.last_run_*: * instead of null", "the recorded server forgot its runs"),
)

_OF_TOOLS_AND_MODELS = (
    Allowed("*", "$*source_type: 'python' instead of 'json'", "Python is called so"),
    Allowed("*", "$*args_json_schema: null instead of an object", "its source alone describes it"),
    Allowed("*", "$*metadata_.tool_hash: missing", "the recorded server's own"),
    Allowed("tool approval", "$: an object instead of null", "the agent, as with a block"),
    Allowed("tool attach", "$: an object instead of null", "the same"),
    Allowed("tool run", "$.sandbox_config_fingerprint: null instead of a string", "it is always the same sandbox"),
    Allowed("tool create bad source", "$.line: added", "where the source is at fault"),
    Allowed("agent detach block", "$.message_ids[]: *", "the calls of one reply come before what they returned"),
    Allowed("agent detach block", "$.tool_rules[].prompt_template: missing", "it is the server's own words"),
    Allowed("health", "$.folkmoot: added", "our own version, beside the level of the API"),
    Allowed("*", "$*.environment: added", "Folkmoot's own: whether the packages of a tool are there"),
    Allowed("agent attach tool", "$: an object instead of null", "the agent, as with a block"),
    Allowed("models list", "$[]: without openai/text-embedding-3-small", "it holds no conversations"),
    Allowed("models list", "$[]: with offline/notetaker", "Folkmoot's own"),
    Allowed("embedding models list", "$[]: with offline/wordllama", "Folkmoot's own"),
    Allowed("models list", "$[].max_tokens: null instead of 16384", "OpenAI's list does not tell it"),
    Allowed("models list", "$[].enable_reasoner: False instead of True", "no gpt-4 reasons"),
    Allowed("*models list", "$[]: without letta/letta-free", "a cloud's model"),
    Allowed("embedding models list", "$[]: without openai/text-embedding-*", "not in the scripted model's list"),
)

_OF_MESSAGES = (
    Allowed("message needs approval*", "$.messages[].otid: *", "as every message has it"),
    Allowed("message while approval pending", "$.detail.message: *", "the server's own words"),
    Allowed("message deny", "$*.stderr: a list instead of null", "every failed call has it"),
    Allowed("message tool unknown tool", "$*.stderr: a list instead of null", "every failed call has it"),
    Allowed("message tool bad json", "$*.arguments: *", "what the model said is kept as it is"),
    Allowed("message empty list", "$.trace_id: added", "as with all invalid input"),
    *(
        Allowed("messages list", f"$[].{difference}", "a tool call is among the last five messages")
        for difference in (
            "content: missing",
            "name: a string instead of null",
            *(f"{name}: added" for name in ("status", "stderr", "stdout", "tool_call", "tool_calls", "tool_call_id")),
            "tool_return: added",
            "tool_returns: added",
        )
    ),
)

_OF_RUNS = (
    Allowed("*", "*$*error: added", "a failed run says why"),
    Allowed("*", "*$*input_messages: added", "a run that came to nothing keeps what was said"),
    Allowed("*", "*$*partial_answer: added", "and the answer as far as it was written"),
    Allowed("*", "*$*asked_by: added", "whose key asked for a run"),
    Allowed("*", "$*ttft_ns: * instead of null", "when a run's first words came, which the recorded server left out"),
    Allowed("run usage", "$.*_tokens_details: an object instead of null", "told, as it is of a step"),
    Allowed("*", "*metadata.lettuce: missing", "the name of a queue of the recorded server"),
    Allowed("run retrieve", "*total_duration_ns: *", "told for every run that is over"),
    Allowed("run steps", "*_tokens: 0 instead of null", "a figure that the provider did not give counts as 0"),
    Allowed("message client tool", "*otid: *", "the same as every message's: the id without its kind"),
    Allowed("*", "*messages*.name: a string instead of null", "a tool return says whose it is"),
    Allowed("agent context", "*messages*.*", "messages carry what is kept of them"),
    Allowed("agent reset messages", "*last_run_*", "told for every agent that has run"),
)

_OF_ARCHIVES = (
    *(
        Allowed("archive*", f"$*.{name}: added", "Folkmoot's own field of an archive")
        for name in ("embedding", "passage_count", "embedded_count")
    ),
    *(
        Allowed("*passage*", f"$*.{name}: added", "Folkmoot's own: who wrote it, and why it was found")
        for name in ("author", "score", "why", "archive_id", "without_meaning")
    ),
    Allowed("*passage*", "$*.embedding: null instead of a list", "vectors stay in the database"),
    Allowed("tools list", "$[].json_schema.parameters.properties.archive: added", "an agent may have several"),
)

ALLOWED = (*_OF_BLOCKS, *_OF_AGENTS, *_OF_TOOLS_AND_MODELS, *_OF_MESSAGES, *_OF_RUNS, *_OF_ARCHIVES)


def _refused(recording: Recording) -> Recording:
    """A block's limit is enforced."""
    return dataclasses.replace(recording, status=422, response={"trace_id": "", "detail": ""})


def _unknown_block(recording: Recording) -> Recording:
    """An unknown entry of block_ids is an error that names it."""
    return dataclasses.replace(recording, status=404, response={"detail": ""})


def _parallel_calls(recording: Recording) -> Recording:
    """All calls of one reply are run in one step: first the calls, then what they returned.

    The recorded server ran the first call only, so that the model made both again in a second step.
    """
    response = json.loads(json.dumps(recording.response))
    first, first_return, second, second_return, answer = response["messages"]
    for message in (second, second_return):
        message["step_id"] = first["step_id"]
    for call in (second["tool_call"], *second["tool_calls"]):
        call["arguments"] = call["arguments"].replace('"one"', '"two"')
    response["messages"] = [first, second, first_return, second_return, answer]
    response["usage"].update(completion_tokens=20, prompt_tokens=200, total_tokens=220, step_count=2)
    return dataclasses.replace(recording, response=response)


def _works_here(recording: Recording) -> Recording:
    """The recorded server could not do it."""
    return dataclasses.replace(recording, status=200, response=ANYTHING)


INSTEAD: dict[str, Callable[[Recording], Recording]] = {
    "block create over limit": _refused,
    "block update over limit": _refused,
    "agent create unknown block": _unknown_block,
    "message parallel tools": _parallel_calls,
    "steps list": _works_here,
    "messages search": _works_here,
    "chat completions": _works_here,
}
"""Calls that Folkmoot answers otherwise, by the contract's own list of the recorded server's faults."""

OVER_LIMIT = {"value": "testing testing", "limit": 5}
BEFORE = {"value": "Organization: Letta\nupdated", "limit": 4000}


def as_if_refused(value: Any) -> Any:
    """Return a recorded body with the organization block as it is when the update over its limit was refused."""
    if isinstance(value, list):
        return [as_if_refused(part) for part in value]
    if isinstance(value, dict):
        changed = {name: as_if_refused(part) for name, part in value.items()}
        return changed | BEFORE if OVER_LIMIT.items() <= changed.items() else changed
    return value


def expected(recording: Recording) -> Recording:
    """Return what Folkmoot should answer."""
    if recording.name in INSTEAD:
        return INSTEAD[recording.name](recording)
    return dataclasses.replace(recording, response=as_if_refused(recording.response))
