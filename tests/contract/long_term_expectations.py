"""Where the recorded calls about archives and folders are not the measure: old faults, differences that are meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from expectations import ANYTHING, Allowed
from recordings import Recording

SHAPE_ONLY = {
    "agent passages search": "the recorded server ranked by made-up vectors alone; here words and vectors rank",
    "agent passages search top_k": "the same",
    "agent passages search dates": "the same",
    "agent passages search date only": "the same",
    "agent passages search no archive agent": "the same",
    "passages search org": "the same",
    "passages search by agent": "the same",
    "passages search by archive": "the same",
    "passages search no query": "the same, and long passages among them",
    "passages search empty body": "it looks through what other calls left",
    "agent context with archival": "tokens are counted otherwise, of other tools and other words",
    "agent context with open file": "the same",
    "agent files closed limit": "which files are the first is by age here, by chance there",
    "agent files cursor": "the same",
    "agent files after file delete": "the same",
    "agent files 0.1 client": "the same",
    "agent passages list asc limit": "passages of one moment come in no order of their own",
    "agent passages list desc": "the same",
    "agent passages list after": "one passage without a text is not there",
    "agent passages list": "the same",
    "agent passages list of second agent sharing the archive": "the same",
    "embeddings total storage": "vectors are kept without padding, and others were stored",
    "folder passages": "chunks are cut otherwise",
    "folder file retrieve content": "of a file that was replaced, the recorded server showed the text before",
}
"""Calls whose elements are other ones than the recorded, so that only their shape can be compared."""

_OF_AGENTS = (
    Allowed("*", "$*llm_config.display_name: a string instead of null", "the model's name"),
    Allowed("*", "$*llm_config.max_tokens: null instead of 16384", "OpenAI's list does not tell it"),
    Allowed("*", "$*llm_config.parallel_tool_calls: True instead of False", "Folkmoot runs them, and says so"),
    Allowed("*", "$*compaction_settings.model: * instead of *", "the agent's own model writes its summaries"),
    Allowed("*", "$*.environment: added", "Folkmoot's own: whether the packages of a tool are there"),
    Allowed("* attach*", "$: an object instead of null", "the agent, as with a block"),
    Allowed("attach *", "$: an object instead of null", "the same"),
    Allowed("folder detach*", "$: an object instead of null", "the same"),
    Allowed("agent max files open", "$.last_run_*", "told for every agent that has run"),
    Allowed("source detach", "$.last_run_*", "the same"),
    Allowed("source detach", "$.memory.file_blocks[]: [] instead of 1 elements", "the recorded server kept a file"),
)

_OF_ARCHIVES = (
    *(
        Allowed("archive*", f"$*.{name}: added", "Folkmoot's own field of an archive")
        for name in ("embedding", "passage_count", "embedded_count", "access")
    ),
    Allowed("*", "$*embedding_config.embedding_endpoint: null instead of a string", "the server's, not the API's"),
    Allowed("archive passages batch", "$[]: in another order", "they come in the order in which they were sent"),
    *(
        Allowed("*passage*", f"$*.{name}: added", "Folkmoot's own: who wrote it, and why it was found")
        for name in ("author", "archive_id", "embedding_error", "without_meaning", "why")
    ),
    Allowed("agent passages search*", "$*.score: added", "the same"),
    Allowed("passages search*", "$[].metadata.*: added", "the same"),
    Allowed("*passage*", "$*.embedding: null instead of a string", "vectors stay in the database"),
    Allowed("passages search*", "$[].passage.*: *", "other passages than the recorded"),
    Allowed("agent passages list after", "$[].tags: a list instead of null", "the same"),
    Allowed("agent context*", "$.functions_definitions[].*", "an agent may have several archives"),
    Allowed("agent context*", "$.messages[].*", "messages carry what is kept of them"),
)

_OF_FILES = (
    *(
        Allowed("*", f"$*.{name}: added", "Folkmoot's own: the version of a text, and where a chunk stands in it")
        for name in ("version", "first_line", "last_line", "heading")
    ),
    Allowed("*", "$*processing_status: 'completed' instead of *", "the test waits until a file was read"),
    Allowed("upload duplicate skip", "$.processing_status: * instead of *", "the same, or it is being read"),
    Allowed("upload duplicate skip", "$.*chunks*: * instead of null", "the same"),
    Allowed("folder file*", "$*chunks*: *", "chunks are cut otherwise, and of an empty file there is none"),
    Allowed("*files*", "$*.file_name: '*readme_(2).md' instead of 'readme.md'", "which file was replaced"),
    Allowed("folder file*", "$[].file_size: * instead of *", "the same"),
    Allowed("*files*", "$*.content: *", "the same"),
    Allowed("*files*", "$*.visible_content: *", "the same, and the empty lines of a text stay"),
    Allowed("agent files*", "$.next_cursor: *", "files are listed by age"),
    Allowed("agent file* open *", "$[]: *", "which files were least recently used"),
    Allowed("agent files close all", "$[]: *", "the same"),
    Allowed("agent files*", "$.files[]: in another order", "files are listed by age"),
    Allowed("agent max files open", "$.memory.file_blocks[]: in another order", "the same"),
    Allowed("agent max files open", "$.memory.file_blocks[].*: * instead of *", "as far as there is room"),
    Allowed("turn semantic_search_files limit zero", "$.messages[].*", "0 passages are none; the agent is told so"),
)

ALLOWED = (*_OF_AGENTS, *_OF_ARCHIVES, *_OF_FILES)


def _answered(status: int, response: Any = ANYTHING) -> Callable[[Recording], Recording]:
    """Return what sets another status; without a response only the contract's shape is looked at."""
    return lambda recording: dataclasses.replace(recording, status=status, response=response)


_invalid = _answered(422, {"trace_id": "", "detail": ""})
_not_found = _answered(404, {"detail": ""})
_works = _answered(200)

INSTEAD: dict[str, Callable[[Recording], Recording]] = {
    # there a passage may be empty, and may not be longer than 8,192 tokens
    "archive passage create empty text": _invalid,
    "agent passage create empty": _invalid,
    "agent passage create too long": _works,
    # there 0 counts as left out, and passages with the tags are lost behind others without them
    "agent passages search top_k zero": _invalid,
    "agent passages search tags any": _works,
    "agent passages search tags all": _works,
    # there is no such list there
    "archive passages list": _works,
    # there an agent has one archive, and the one that was made for it stays behind
    "archive attach second archive": _answered(200),
    "archives after agent delete": _answered(200),
    # there a folder has to have an embedding, and lists take neither names nor limits
    "folder create no embedding": _works,
    "folders list by name": _works,
    "sources list by name": _works,
    "sources list limit": _works,
    # there the file of another name is replaced
    "upload duplicate replace": _works,
    # there the word is taken for a folder's identifier
    "folders metadata": _works,
    "folders metadata detailed": _works,
    "folders metadata detailed after uploads": _works,
    "sources metadata": _works,
    "sources metadata detailed": _works,
    # there it is a 500, or the file of another folder
    "folder file retrieve unknown": _not_found,
    "source file retrieve": _not_found,
    # there uploads make no job
    "jobs list": _works,
    "jobs list by source": _works,
    "jobs list (rest)": _works,
}
"""Calls that Folkmoot answers otherwise, and why."""
