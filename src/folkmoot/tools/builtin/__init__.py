"""The tools that come with Folkmoot."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.tools.builtin import agents, archival_memory, files, memory, memory_files, voice_memory, web
from folkmoot.tools.builtin.builtin_tool import BuiltinTool
from folkmoot.tools.builtin.conversation_search import conversation_search
from folkmoot.tools.builtin.run_code import run_code, run_code_with_tools

_ALL = (
    BuiltinTool(memory.memory_insert, "letta_sleeptime_core", in_step=True),
    BuiltinTool(memory.memory_replace, "letta_sleeptime_core", in_step=True),
    BuiltinTool(memory.memory_rethink, "letta_sleeptime_core", in_step=True),
    BuiltinTool(memory.memory_finish_edits, "letta_sleeptime_core", in_step=True, ends_turn=True),
    BuiltinTool(memory.core_memory_append, "letta_memory_core", in_step=True),
    BuiltinTool(memory.core_memory_replace, "letta_memory_core", in_step=True),
    BuiltinTool(memory.memory_apply_patch, "letta_memory_core", in_step=True),
    BuiltinTool(memory_files.memory, "letta_memory_core", in_step=True),
    BuiltinTool(conversation_search, "letta_core"),
    BuiltinTool(agents.send_message, "letta_core", in_step=True, ends_turn=True),
    BuiltinTool(web.web_search, "letta_builtin"),
    BuiltinTool(web.fetch_webpage, "letta_builtin"),
    BuiltinTool(run_code, "letta_builtin", runs_code=True),
    BuiltinTool(run_code_with_tools, "letta_builtin", runs_code=True, runs_beside_others=False),
    BuiltinTool(archival_memory.archival_memory_insert, "letta_core", in_step=True),
    BuiltinTool(archival_memory.archival_memory_search, "letta_core"),
    BuiltinTool(voice_memory.store_memories, "letta_voice_sleeptime_core", in_step=True),
    BuiltinTool(voice_memory.rethink_user_memory, "letta_voice_sleeptime_core", in_step=True),
    BuiltinTool(voice_memory.finish_rethinking_memory, "letta_voice_sleeptime_core", in_step=True, ends_turn=True),
    BuiltinTool(voice_memory.search_memory, "letta_voice_sleeptime_core", runs_beside_others=False),
    BuiltinTool(files.open_files, "letta_files_core", in_step=True),
    BuiltinTool(files.grep_files, "letta_files_core"),
    BuiltinTool(files.semantic_search_files, "letta_files_core"),
    BuiltinTool(agents.send_message_to_agent_and_wait_for_reply, "letta_multi_agent_core", asks_agents=True),
    BuiltinTool(agents.send_message_to_agent_async, "letta_multi_agent_core"),
    BuiltinTool(agents.send_message_to_agents_matching_tags, "letta_multi_agent_core", asks_agents=True),
)

BUILTIN_TOOLS: Mapping[str, BuiltinTool] = {tool.name: tool for tool in _ALL}
"""By name."""

RUN_CODE_WITH_TOOLS = "run_code_with_tools"

BUILTIN_TOOLS_BY_ID: Mapping[str, BuiltinTool] = {tool.id: tool for tool in _ALL}
"""By identifier."""

BASE_TOOLS: Mapping[str, tuple[str, ...]] = {
    "memgpt_agent": ("send_message", "conversation_search", "core_memory_append", "core_memory_replace"),
    "memgpt_v2_agent": ("send_message", "conversation_search", "memory_insert", "memory_replace"),
    "voice_convo_agent": ("send_message", "search_memory"),
    "voice_sleeptime_agent": ("store_memories", "rethink_user_memory", "finish_rethinking_memory"),
    "sleeptime_agent": ("memory_insert", "memory_replace", "memory_rethink", "memory_finish_edits"),
    "react_agent": (),
    "workflow_agent": (),
}
"""Which tools an agent of a type has unless its creator says otherwise; every other type has `DEFAULT_TOOLS`."""

MULTI_AGENT_TOOLS = ("send_message_to_agent_and_wait_for_reply", "send_message_to_agent_async")
"""What an agent has in addition when its creator asks for multi-agent tools."""

FILE_TOOLS = ("open_files", "grep_files", "semantic_search_files")
"""What an agent has as long as it has a folder."""

DEFAULT_TOOLS = ("memory_insert", "memory_replace", "conversation_search")
