"""Where the recorded calls of programs are not the measure: old faults, and what is meant.

`test_programs.py` fails where one of these lines is no longer needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from replaying import Call


@dataclass(frozen=True)
class Mark:
    """A difference that is known. All but the reason are patterns with `*`."""

    reason: str
    call: str = "*"
    difference: str = "*"
    program: str = "*"
    scenario: str = "*"

    def __str__(self) -> str:
        return " ".join(part for part in (self.program, self.scenario, self.call, self.difference) if part != "*")

    def covers(self, call: Call, difference: str) -> bool:
        """Tell whether a call's difference is this one."""
        pairs = (
            (call.name, self.call),
            (difference, self.difference),
            (call.program, self.program),
            (call.scenario, self.scenario),
        )
        return all(fnmatchcase(value, pattern.replace("[", "[[]")) for value, pattern in pairs)


_MODELS = (
    Mark("Folkmoot runs parallel calls, and says so", difference="*.parallel_tool_calls: True instead of False"),
    Mark("the window of the model, or the one that was asked for", difference="*.context_window: *"),
    Mark("a cloud's model", "GET /v1/models*", "$[]: without letta-free"),
    Mark("it holds no conversations", "GET /v1/models", "$[]: without text-embedding-3-small"),
    Mark("the scripted model's list has none", "GET /v1/models/embedding", "$[]: without text-embedding-*"),
    Mark("Folkmoot's own", "GET /v1/models", "$[]: with notetaker"),
    Mark("Folkmoot's own", "GET /v1/models/embedding", "$[]: with wordllama"),
)

_WHOLE = "an agent that is read comes with all that belongs to it, and an include takes nothing away"

_MEANT = (
    *(Mark(_WHOLE, "GET /v1/agents*", f"*.{part}[]: with *") for part in ("blocks", "tools", "tags")),
    *(
        Mark("names are made up", difference=f"*.name: '*' instead of '{name}'")
        for name in ("WarmheartedZebra", "JovialJackfruit")
    ),
    Mark(
        "a summary that says nothing is asked for once more",
        "POST /v1/agents/{}/summarize",
        "$.summary: * instead of 'ok'",
    ),
    *(
        Mark("the replay waits until a run is over", "GET /v1/runs/{}", f"$.{name}: * instead of *")
        for name in ("status", "stop_reason")
    ),
    Mark(
        "what the client returned is told to everybody who follows", "POST */messages", "$[]: with tool_return_message"
    ),
    Mark("sizes are what is read of it", "GET /v1/agents/{}/context", "$.messages[]*"),
    Mark("the agent, of whatever age the client is", "PATCH /v1/agents/{}/tools/*", "$: an object instead of null"),
    Mark("the same", "PATCH /v1/agents/{}/folders/*", "$: an object instead of null"),
    Mark("a message, as for agents", "DELETE /v1/conversations/{}", "$: an object instead of null"),
    Mark("the recorded server had no such list, and its programs went on", "GET /v1/agents/{}/secrets", "status 200 *"),
    Mark("nothing to cancel is no error", "POST /v1/agents/{}/messages/cancel", "status 200 instead of 409*"),
    Mark("the recorded server left this one out", difference="*.tags[]: with 'git-memory-enabled'"),
    Mark("the recorded server left them out here", "*", "*.in_context_message_ids[]: with *"),
    Mark(
        "what comes with the server stays", "DELETE /v1/tools/{}", "status 409 instead of 200: *comes with the server*"
    ),
    Mark("Python is called so", difference="*.source_type: 'python' instead of 'json'"),
    Mark("other names for the ways to ask for a run", "GET /v1/runs*", "*.metadata.run_type: *"),
)

_FILES = (
    Mark("Folkmoot's own", "GET /v1/agents/{}/export", "$.metadata.revision_id: *"),
    *(
        Mark("numbered in the order in which the agent has them", "GET /v1/agents/{}/export", f"$.{things}[].id: *")
        for things in ("blocks", "tools")
    ),
    Mark("the same", "GET /v1/agents/{}/export", "$.tools[]: without *"),
    Mark(
        "its source was not kept, only its length", "POST /v1/agents/import", "status 400 instead of 200*'double_it'*"
    ),
)

_VECTORS = "vectors stay in the database"

_PASSAGES = (
    *(
        Mark(_VECTORS, call, "$[]*.embedding: null instead of a string")
        for call in (
            "* /v1/agents/{}/archival-memory",
            "POST /v1/archives/{}/passages/batch",
            "POST /v1/passages/search",
        )
    ),
)

_NEWEST = "newest first, as it was asked for; a page after one goes on behind it"

_ORDER = (
    Mark(_NEWEST, "GET /v1/agents/{}/messages", "*", "letta-client-bot"),
    Mark(_NEWEST, "GET /v1/agents/{}/messages", "$[]: in another order", "lettactl"),
    Mark(_NEWEST, "GET /v1/agents/{}/messages", "$[]: in another order", "agentic-learning"),
    Mark(
        "what was captured names the run that it is told to be in",
        "GET /v1/agents/{}/messages",
        "$[].run_id: a string instead of null",
        "agentic-learning",
    ),
    Mark(_NEWEST, "GET /v1/conversations/{}/messages", "*", "lettactl", "get messages of conversation"),
    Mark(
        "the blocks have another order, so pages end elsewhere", "GET */core-memory/blocks", "$[]: with *", "lettactl*"
    ),
    Mark("the same", "GET /v1/agents/{}/tools", "$[]: with*", "lettactl*"),
)

_OF_THE_REPLAY = (
    Mark("what was said was not kept, only its length", "*", "$[].content: 'ok' instead of 'done'", "deep-research"),
    Mark("the same", "GET */core-memory/blocks/research_report", "$.value: '' instead of '# Tea'", "deep-research"),
    *(
        Mark("what the recorded server got later is here from the start", "GET /v1/agents", "$[]: with*", program)
        for program in ("letta-code", "lettabot")
    ),
    *(
        Mark("made with a model that is here", difference=f"*.{name}: 'openai/gpt-4o-mini' instead of *")
        for name in ("handle", "model")
    ),
    Mark("the same", difference="*.llm_config.model: 'gpt-4o-mini' instead of *"),
)

_OF_TOOLS = (
    Mark("what was asked for", "POST /v1/agents", "$.tools[]: with send_message", "deep-research"),
    *(
        Mark("its first call is taken here", "*", f"*tags[]: with '{tag}'", "letta-obsidian")
        for tag in ("obsidian", "note-creation", "requires-approval")
    ),
    *(
        Mark("somebody else took it away meanwhile", "*", "*[]: with price_of", program)
        for program in ("letta-sync", "lettabot")
    ),
)

_BOTH = "each server of tools has its own; the recorded one took tools of one name for the same, the last server's"

_OF_SERVERS = (
    Mark(_BOTH, "*", "*tags[]: without 'mcp:counter_stdio'", "lettactl*"),
    Mark(_BOTH, "*", "*tags[]: with 'mcp:counter'", "lettactl*"),
    *(
        Mark(_BOTH, call, f"$[]: {seen} {name}", "lettactl*")
        for name in ("mcp_add", "shout", "fails", "env_value", "record_of", "opt_list")
        for call, seen in (
            ("GET /v1/tools", "with"),
            ("GET /v1/mcp-servers/{}/tools", "with"),
            ("GET /v1/mcp-servers/{}/tools", "without"),
        )
    ),
    *(
        Mark(_BOTH, "GET /v1/agents*", f"*.tools[]: without {name}", "lettactl-full")
        for name in ("mcp_add", "shout")  # of an imported agent, whose file does not say which server they are of
    ),
)

_OF_IMPORTS = (
    Mark("an import makes blocks in its file's order, so pages end elsewhere", "GET /v1/blocks", "$[]: with tone"),
    Mark(
        "a folder that an import makes has a name of its own, and is not the one that the program then deletes",
        "GET /v1/folders",
        "$[]: with shop_papers_*",
        "lettactl*",
    ),
)

_REPLACED = "a file that is replaced stays the same, and in its folder"

_READ = "the replay waits until an upload is read, and so open"

_OF_FOLDERS = (
    Mark("made by the program's call, which got no further there", "GET /v1/folders", "$[].description: *", "co"),
    Mark(_REPLACED, "*/v1/folders/{}/*", "*id: file-* is here file-*, before it was file-*", "co"),
    Mark(_REPLACED, "POST /v1/folders/{}/upload", "$.file_name: 'co-files/hours.txt' instead of 'hours.txt'", "co"),
    Mark(_REPLACED, "PATCH /v1/agents/{}/files/close-all", "$[]: with* *hours.txt'", "co"),
    Mark(_READ, "GET /v1/folders/{}/files", "$[].processing_status: 'completed' instead of 'parsing'", "lettactl-full"),
    Mark(_READ, "PATCH /v1/agents/{}/files/close-all", "$[]: with 'shop_papers/hours.md'", "lettactl-full"),
    Mark("those used last first", "PATCH /v1/agents/{}/files/close-all", "$[]: in another order", "lettactl*"),
    Mark("by time, and numbered so", "GET /v1/agents/{}/export", "$.files[]: in another order", "lettactl"),
)

_HARNESS = "something other than the program asked the agent for what waits for approval"

_OF_APPROVALS = (
    Mark(
        _HARNESS, "GET /v1/agents/{}", "$.pending_approval: null instead of an object", "lettabot", "approvals: one *"
    ),
    Mark(
        _HARNESS,
        "POST /v1/agents/{}/messages",
        "status 400 instead of 200: *No tool call*",
        "lettabot",
        "approvals: one *",
    ),
)

_NOT_SHOWN = tuple(
    Mark("no call shows which tools the agent had", "*/messages*", "*.status: 'error' instead of 'success'", program)
    for program in ("n8n-nodes-letta", "vercel-provider")
)

_HUNG_UP = (Mark("the program hung up before the end", "POST */messages", "$[]: with *", "claude-subconscious"),)

_COPIES = "a conversation's copies of blocks go with its agent"

_COPIED = (
    Mark(_COPIES, "GET /v1/blocks", "$[]: without customer", "lettactl-full"),
    Mark(_COPIES, "DELETE /v1/blocks/{}", "status 404 instead of 200*", "lettactl-full"),
)

MARKS = (
    *_FILES,
    *_MODELS,
    *_MEANT,
    *_PASSAGES,
    *_ORDER,
    *_OF_THE_REPLAY,
    *_OF_TOOLS,
    *_OF_SERVERS,
    *_OF_IMPORTS,
    *_OF_FOLDERS,
    *_OF_APPROVALS,
    *_NOT_SHOWN,
    *_HUNG_UP,
    *_COPIED,
)


@dataclass(frozen=True)
class Instead:
    """Calls that are answered otherwise here: `here` is the status, None where the call is not made at all."""

    reason: str
    recorded: int
    here: int | None
    call: str = "*"
    program: str = "*"
    scenario: str = "*"

    def holds_for(self, call: Call) -> bool:
        """Tell whether a call is one of these."""
        pairs = ((call.name, self.call), (call.program, self.program), (call.scenario, self.scenario))
        return call.status == self.recorded and all(fnmatchcase(value, pattern) for value, pattern in pairs)


_LOST = "calls that the recorded server dropped run here; the scenario with parallel_tool_calls on shows the rest"

_FOLDERS = "a folder needs no model for vectors"

INSTEAD = (
    Instead(_FOLDERS, 400, 200, "POST /v1/folders", "co"),
    Instead(f"{_FOLDERS}, so that the program would not ask again with one", 400, None, "POST /v1/folders", "letta-*"),
    Instead(f"{_FOLDERS}; how the program goes on was not recorded", 400, None, "POST /v1/folders", "lettactl"),
    Instead("a background stream needs nothing here", 503, 200, "POST */messages*"),
    Instead("search needs nothing here", 400, 200, "POST /v1/messages/search"),
    Instead("the recorded server did not serve the model that the program names", 404, None, "POST /v1/agents"),
    Instead("a header that the recorded server refuses is not kept", 400, 200, program="letta-mcp-server"),
    Instead(
        "whatever the provider is called, the model's handle counts", 422, 200, "POST /v1/agents", "letta-mcp-server"
    ),
    *(
        Instead("a tool's source says its name", status, 200, "PUT /v1/tools", "letta-obsidian")
        for status in (307, 422)
    ),
    Instead("a label that blocks can have can be looked for", 422, 200, "GET /v1/blocks", "letta-obsidian"),
    *(
        Instead("the model that it picks is here", status, None, "*", "claude-subconscious", "*, it picks another")
        for status in (200, 404)
    ),
    *(
        Instead("what only the maker's cloud had is here, or has its empty form", 404, 200, f"GET /v1/{path}")
        for path in (
            *("projects", "templates", "environments", "metadata/balance", "organizations/self/quotas"),
            "agents/{}/schedule",
        )
    ),
    Instead(
        "the project is there from the scenario before, so that the program would find it",
        404,
        None,
        "POST /v1/projects",
        "letta-sync",
        "bootstrap with *",
    ),
    Instead("the same", 404, 200, "POST /v1/projects"),
    Instead("a conversation without an agent can be begun", 405, 200, "POST /v1/conversations/ephemeral"),
    Instead("the provider's own address, which is not to be asked by a test", 200, None, "POST /v1/providers/check"),
    Instead("the same", 404, 201, "POST /v1/agents/{}/schedule"),
    Instead("the same", 404, 200, "GET /v1/agents/{}/mcp-servers"),
    Instead("the same", 404, 200, "POST /v1/agents/{}/mcp-servers/tools/search"),
    Instead("a run can be deleted", 500, 200, "DELETE /v1/runs/{}"),
    *(
        Instead(_LOST, 200, None, program="letta-code", scenario=f"headless: {what}, agent without parallel_tool_calls")
        for what in (
            "two tools of the client called without a required argument",
            "two tools run by the client in one reply",
            "one tool of the client and one of the server in one reply",
        )
    ),
)


def expected_status(call: Call) -> int | None:
    """Return how Folkmoot answers; None for a call that is not to be made."""
    return next((instead.here for instead in INSTEAD if instead.holds_for(call)), call.status)
