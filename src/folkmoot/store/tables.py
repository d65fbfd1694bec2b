"""The schema: one set of tables for both engines, SQLAlchemy Core, no ORM.

Every key starts with the organisation, so that a sharded PostgreSQL can spread the rows. Times are microseconds since
the epoch, UTC (`clock.now`). JSON is kept as text, so that both engines hand back the same values. What only one engine
has (full-text indexes) is in its engine module and in the migrations.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, REAL
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

metadata = MetaData()


class json_object(FunctionElement[str]):  # noqa: N801 - a function of SQL
    """All names of a group with their values, as the text of a JSON object; null or empty for none."""

    type = Text()
    inherit_cache = True


@compiles(json_object, "sqlite")
def _json_object_in_sqlite(element: json_object, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_object({compiler.process(element.clauses, **options)})"


@compiles(json_object, "postgresql")
def _json_object_in_postgresql(element: json_object, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_object_agg({compiler.process(element.clauses, **options)})::text"


_VECTOR = LargeBinary().with_variant(ARRAY(REAL), "postgresql")
"""32-bit numbers: as bytes, or as an array that pgvector can read."""


def _organization() -> Column[str]:
    return Column("organization_id", Text, nullable=False)


def _index_of_few(name: str, column: str, *order: str) -> Index:
    """Return an index of the few rows that have a value in `column`, by it and then by `order`."""
    some = text(f"{column} IS NOT NULL")
    return Index(name, "organization_id", column, *order, sqlite_where=some, postgresql_where=some)


def _index_of_few_everywhere(name: str, column: str) -> Index:
    some = text(f"{column} IS NOT NULL")
    return Index(name, column, sqlite_where=some, postgresql_where=some)


def _index_of_waiting(name: str) -> Index:
    """Return an index of the few runs that ended with calls which wait for somebody."""
    some = text("stop_reason = 'requires_approval'")
    # The reason is a column of it too, or SQLite would rather walk through all runs by age.
    columns = ("organization_id", "stop_reason", "created_at", "id")
    return Index(name, *columns, sqlite_where=some, postgresql_where=some)


blocks = Table(
    "blocks",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("character_limit", Integer, nullable=False),
    Column("description", Text),
    Column("read_only", Boolean, nullable=False),
    Column("hidden", Boolean),
    Column("project_id", Text),
    Column("is_template", Boolean, nullable=False),
    Column("template_name", Text),
    Column("extra", Text, nullable=False, comment="JSON: metadata, and the wire's other template fields"),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False, comment="JSON: the author of the newest version"),
    Column("require_version", Boolean, nullable=False, server_default=false(), comment="no overwriting unseen"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("blocks_by_age", "organization_id", "created_at", "id"),
    Index("blocks_by_label", "organization_id", "label", "created_at", "id"),
)

block_tags = Table(
    "block_tags",
    metadata,
    _organization(),
    Column("block_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("place", Integer, nullable=False, comment="in the order in which they were given"),
    PrimaryKeyConstraint("organization_id", "block_id", "tag"),
    ForeignKeyConstraint(["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"),
    Index("block_tags_by_tag", "organization_id", "tag", "block_id"),
)

block_versions = Table(
    "block_versions",
    metadata,
    _organization(),
    Column("block_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("text", Text, comment="the whole text, for the versions that keep one"),
    Column("delta", Text, comment="JSON: the change from the version before, unless the text is short"),
    Column("length", Integer, nullable=False, comment="characters of this version's text"),
    Column("edit", Text, nullable=False, comment="JSON: what was asked for"),
    Column("author_type", Text, nullable=False),
    Column("author_id", Text),
    Column("author_name", Text),
    Column("run_id", Text),
    Column("step_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("client", Text, comment="the author's program, as it names itself"),
    PrimaryKeyConstraint("organization_id", "block_id", "version"),
    ForeignKeyConstraint(["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"),
    Index("block_versions_by_time", "organization_id", "created_at", "block_id", "version"),
    _index_of_few("block_versions_by_run", "run_id"),
)

agents = Table(
    "agents",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("agent_type", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("embedding", Text),
    Column("timezone", Text, nullable=False),
    Column("hidden", Boolean),
    Column("project_id", Text),
    Column("template_id", Text),
    Column("base_template_id", Text),
    Column("configuration", Text, nullable=False, comment="JSON: settings that no statement filters by"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deployment_id", Text, comment="with which others it was made from a template"),
    Column("entity_id", Text, comment="which of the template's agents it is"),
    PrimaryKeyConstraint("organization_id", "id"),
    _index_of_few("agents_by_deployment", "deployment_id"),
    Index("agents_by_age", "organization_id", "created_at", "id"),
    Index("agents_by_name", "organization_id", "name", "created_at", "id"),
)

agent_tags = Table(
    "agent_tags",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "tag"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    Index("agent_tags_by_tag", "organization_id", "tag", "agent_id"),
)

agent_tools = Table(
    "agent_tools",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("tool_id", Text, nullable=False),
    Column("attached_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "tool_id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    Index("agent_tools_by_tool", "organization_id", "tool_id", "agent_id"),
)

agent_blocks = Table(
    "agent_blocks",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("block_id", Text, nullable=False),
    Column("label", Text, nullable=False, comment="the block's label, so that it is unique on one agent"),
    Column("access", Text, nullable=False, comment="write, append or read"),
    Column("attached_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "block_id"),
    UniqueConstraint("organization_id", "agent_id", "label", name="agent_blocks_label"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"),
    Index("agent_blocks_by_block", "organization_id", "block_id", "agent_id"),
)

conversations = Table(
    "conversations",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="the agent's own id for its main conversation"),
    Column("agent_id", Text, nullable=False),
    Column("summary", Text),
    Column("context_summary", Text, comment="what was said before context_start, in short"),
    Column("next_sequence", BigInteger, nullable=False),
    Column(
        "context_start",
        BigInteger,
        nullable=False,
        comment="first message in context after the system message",
    ),
    Column("locked_by_run", Text, comment="the run whose turn it is; no other run of this conversation may go on"),
    Column("prompt_tokens", Integer, nullable=False, comment="tokens of the last prompt, as its provider counted them"),
    Column("prompt_size", Integer, nullable=False, comment="UTF-8 bytes of that prompt; 0 before the first"),
    Column("hidden", Boolean, nullable=False),
    Column("archived_at", BigInteger),
    Column("last_message_at", BigInteger, nullable=False, comment="0 while nothing was said"),
    Column("configuration", Text, nullable=False, comment="JSON: model, settings and description of its own"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    Index("conversations_by_age", "organization_id", "created_at", "id"),
    Index("conversations_by_agent", "organization_id", "agent_id", "created_at", "id"),
)

conversation_blocks = Table(
    "conversation_blocks",
    metadata,
    _organization(),
    Column("conversation_id", Text, nullable=False),
    Column("block_id", Text, nullable=False, comment="the conversation's own copy of a block"),
    Column("access", Text, nullable=False, comment="write, append or read"),
    PrimaryKeyConstraint("organization_id", "conversation_id", "block_id"),
    ForeignKeyConstraint(
        ["organization_id", "conversation_id"],
        ["conversations.organization_id", "conversations.id"],
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"),
    Index("conversation_blocks_by_block", "organization_id", "block_id"),
)

messages = Table(
    "messages",
    metadata,
    _organization(),
    Column("conversation_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("message_type", Text, nullable=False),
    Column("search_text", Text, nullable=False, comment="what full-text search finds; empty for system messages"),
    Column("search_id", BigInteger, nullable=False, comment="the row's number in the embedded full-text index"),
    Column("body", Text, nullable=False, comment="JSON: the fields of this type of message"),
    Column("name", Text),
    Column("otid", Text),
    Column("sender_id", Text),
    Column("run_id", Text),
    Column("step_id", Text),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "conversation_id", "sequence"),
    UniqueConstraint("organization_id", "id", "conversation_id", name="messages_id"),
    ForeignKeyConstraint(
        ["organization_id", "conversation_id"],
        ["conversations.organization_id", "conversations.id"],
        ondelete="CASCADE",
    ),
    Index("messages_by_run", "organization_id", "run_id", "sequence"),
    Index("messages_by_search_id", "search_id"),
    Index("messages_by_age", "organization_id", "created_at", "id"),
    Index("messages_by_agent", "organization_id", "agent_id", "created_at", "sequence"),
)

runs = Table(
    "runs",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("stop_reason", Text),
    Column("background", Boolean, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("details", Text, nullable=False, comment="JSON: metadata, request_config, error, usage"),
    Column("lease_expires_at", BigInteger, comment="when it counts as dead unless its process says otherwise"),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("asked_by", Text, comment="conversation whose turn waits for this run, when an agent asks another"),
    Column("callback_due", BigInteger, comment="when any process may call callback_url, if nobody has by then"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("runs_by_age", "organization_id", "created_at", "id"),
    Index("runs_by_agent", "organization_id", "agent_id", "created_at", "id"),
    Index("runs_by_conversation", "organization_id", "conversation_id", "created_at", "id"),
    Index("runs_by_status", "organization_id", "status", "created_at"),
    _index_of_few("runs_by_asker", "asked_by"),
    _index_of_waiting("runs_waiting"),
    Index(
        "runs_in_background",
        *("organization_id", "background", "created_at", "id"),
        sqlite_where=text("background = 1"),
        postgresql_where=text("background"),
    ),
    # What a process looks for in all organisations at once, so without the organisation in front.
    _index_of_few_everywhere("runs_by_lease", "lease_expires_at"),
    _index_of_few_everywhere("runs_by_callback", "callback_due"),
    Index("runs_by_time", "created_at"),
)

run_events = Table(
    "run_events",
    metadata,
    _organization(),
    Column("run_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False, comment="the wire format's seq_id"),
    Column("data", Text, nullable=False, comment="JSON: an event of the turn, and its kind"),
    PrimaryKeyConstraint("organization_id", "run_id", "sequence"),
    ForeignKeyConstraint(["organization_id", "run_id"], ["runs.organization_id", "runs.id"], ondelete="CASCADE"),
)

steps = Table(
    "steps",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("stop_reason", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("details", Text, nullable=False, comment="JSON: the other token figures, timings"),
    Column("created_at", BigInteger, nullable=False),
    Column("feedback", Text, comment="positive or negative, when somebody said so"),
    Column("feedback_tags", Text, comment="JSON: a list of strings"),
    Column("run_deleted_at", BigInteger, comment="since when it stays only for its figures"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("steps_by_age", "organization_id", "created_at", "id"),
    Index("steps_by_run", "organization_id", "run_id", "created_at", "id"),
    Index("steps_by_agent", "organization_id", "agent_id", "created_at", "id"),
    _index_of_few("steps_by_feedback", "feedback", "created_at", "id"),
    _index_of_few_everywhere("steps_without_run", "run_deleted_at"),
)

step_traces = Table(
    "step_traces",
    metadata,
    _organization(),
    Column("step_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("request", Text, nullable=False, comment="JSON: what the provider was sent"),
    Column("response", Text, nullable=False, comment="JSON: what it answered"),
    Column("created_at", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0", comment="characters of both, as they are kept"),
    Column("base_step_id", Text, comment="the step whose request it begins with, when that is not repeated"),
    Column("base_length", Integer, comment="how many characters of it"),
    PrimaryKeyConstraint("organization_id", "step_id"),
    ForeignKeyConstraint(["organization_id", "run_id"], ["runs.organization_id", "runs.id"], ondelete="CASCADE"),
    Index("step_traces_by_run", "organization_id", "run_id", "created_at", "step_id"),
    Index("step_traces_by_age", "created_at"),
    Index("step_traces_by_size", "organization_id", "created_at", "step_id", "size"),
)

gone_items = Table(
    "gone_items",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("created_at", BigInteger, comment="where it stood in a list that is ordered by this, and so on"),
    Column("updated_at", BigInteger),
    Column("last_message_at", BigInteger),
    Column("last_run_at", BigInteger),
    Column("gone_at", BigInteger, nullable=False),
    Column("sequence", BigInteger, comment="of a message"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("gone_items_by_age", "organization_id", "gone_at"),
)

departures = Table(
    "departures",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("thing", Text, nullable=False, comment="agent, block, archive, folder or conversation"),
    Column("thing_id", Text, nullable=False),
    Column("name", Text, nullable=False, comment="what it was called"),
    Column("agent_id", Text, comment="whom it was taken from; whose conversation it was"),
    Column("author", Text, nullable=False, comment="JSON: who did it"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("departures_by_age", "organization_id", "created_at", "id"),
    Index("departures_by_age_of_all", "created_at"),
)

block_readers = Table(
    "block_readers",
    metadata,
    _organization(),
    Column("block_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("step_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "block_id", "version", "created_at", "step_id"),
    Index("block_readers_by_step", "organization_id", "step_id", "block_id", "version"),
)

organizations = Table(
    "organizations",
    metadata,
    _organization(),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    UniqueConstraint("name", name="organizations_name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, comment="SHA-256 of the key, in hexadecimal"),
    Column("prefix", Text, nullable=False, comment="the key's first characters, to tell it by"),
    Column("role", Text, nullable=False, comment="reader, member or admin"),
    Column("policy", Text, comment="JSON: what a scoped token reaches; NULL for keys that their role alone limits"),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False, comment="name of who made it"),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger, comment="written once a minute at most"),
    Column("grants", Text, comment="JSON: what a member's key reaches; NULL for keys that their role alone limits"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("api_keys_by_hash", "hash"),
)

sessions = Table(
    "sessions",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="SHA-256 of the cookie, in hexadecimal"),
    Column("expires_at", BigInteger, nullable=False),
    Column("key_id", Text, comment="the stored key it was begun with; NULL for FOLKMOOT_API_KEY"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("sessions_by_id", "id"),
)

deletions = Table(
    "deletions",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="the agent, conversation or block"),
    Column("kind", Text, nullable=False, comment="agent, conversation, block or reset"),
    Column("before", BigInteger, nullable=False, comment="the first message that a reset leaves"),
    PrimaryKeyConstraint("organization_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="what is done; a room says how"),
    Column("subject_id", Text, nullable=False, comment="what it works on"),
    Column("parent_id", Text, comment="what that is part of, such as a file's folder"),
    Column("status", Text, nullable=False),
    Column("details", Text, nullable=False, comment="JSON: what it was given, its last error"),
    Column("progress", Text, nullable=False, comment="JSON: stage, bytes and items done and in all"),
    Column("attempts", Integer, nullable=False),
    Column("claim", Text, comment="the token of who works on it; each take-over makes another one"),
    Column("due_at", BigInteger, comment="when any process may take it: its time, or its lease's end; NULL when over"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("jobs_by_age", "organization_id", "created_at", "id"),
    Index("jobs_by_parent", "organization_id", "parent_id", "created_at", "id"),
    Index(
        "jobs_unfinished",
        "organization_id",
        "kind",
        "subject_id",
        unique=True,
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    # What a process looks for in all organisations at once, so without the organisation in front.
    _index_of_few_everywhere("jobs_by_time", "due_at"),
    _index_of_few_everywhere("jobs_by_end", "completed_at"),
)

tools = Table(
    "tools",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column(
        "tool_type", Text, nullable=False, comment="custom: made of source code; external_mcp: of a server of tools"
    ),
    Column("server_id", Text, nullable=False, comment="the server whose tool it is; empty for those of one's own"),
    Column("description", Text),
    Column("source_type", Text, comment="python or typescript; NULL where there is no source"),
    Column("source_code", Text),
    Column("json_schema", Text, nullable=False, comment="JSON: what a model is told: name, description, parameters"),
    Column("args_json_schema", Text, comment="JSON: the schema that the parameters were made from, if it was given"),
    Column("return_char_limit", Integer, nullable=False, comment="characters of a return that a model is shown"),
    Column("default_requires_approval", Boolean),
    Column("enable_parallel_execution", Boolean, nullable=False),
    Column("extra", Text, nullable=False, comment="JSON: tags, requirements, metadata, and how the schema came to be"),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False, comment="JSON: its author"),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False, comment="JSON: the author of the last change"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "server_id", "name", name="tools_name"),
    Index("tools_by_age", "organization_id", "created_at", "id"),
    Index("tools_by_server", "organization_id", "server_id", "created_at"),
)

sandbox_configs = Table(
    "sandbox_configs",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("config", Text, nullable=False, comment="JSON: what holds for every call of a tool of one's own"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
)

sandbox_variables = Table(
    "sandbox_variables",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("config_id", Text, nullable=False),
    Column("name", Text, nullable=False, comment="of the environment variable"),
    Column("sealed_value", Text, nullable=False),
    Column("description", Text),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "config_id", "name", name="sandbox_variables_name"),
    ForeignKeyConstraint(
        ["organization_id", "config_id"],
        ["sandbox_configs.organization_id", "sandbox_configs.id"],
        ondelete="CASCADE",
    ),
)

folders = Table(
    "folders",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("instructions", Text),
    Column("embedding", Text),
    Column("configuration", Text, nullable=False, comment="JSON: metadata, and how its files are embedded"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("embedding_changes", Integer, nullable=False, server_default="0", comment="how often the embedding changed"),
    Column("earlier_embedding", Text, comment="whose vectors are searched too while the files are embedded anew"),
    Column("earlier_version", Integer, comment="under which they stand"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="folders_name"),
    Index("folders_by_age", "organization_id", "created_at", "id"),
)

files = Table(
    "files",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("folder_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("original_name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False, comment="bytes of the newest upload"),
    Column(
        "status", Text, nullable=False, comment="of the newest upload: pending, parsing, embedding, completed, error"
    ),
    Column("error", Text),
    Column("version", Integer, nullable=False, comment="of the text that is shown; 0 before the first is read"),
    Column("uploads", Integer, nullable=False, comment="the version that the newest upload becomes"),
    Column("upload_id", Text, comment="whose bytes are still to be read"),
    Column("characters", BigInteger, nullable=False, comment="of the text that is shown"),
    Column("lines", BigInteger, nullable=False),
    Column("chunks", Integer, comment="of the newest upload, once all are cut"),
    Column("chunks_embedded", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "folder_id", "name", name="files_name"),
    ForeignKeyConstraint(
        ["organization_id", "folder_id"], ["folders.organization_id", "folders.id"], ondelete="CASCADE"
    ),
    Index("files_by_age", "organization_id", "folder_id", "created_at", "id"),
    _index_of_few_everywhere("files_by_upload", "upload_id"),
)

file_pieces = Table(
    "file_pieces",
    metadata,
    _organization(),
    Column("upload_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False, comment="bytes of an upload, until they are read"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "upload_id", "place"),
    Index("file_pieces_by_age", "created_at"),
)

file_chunks = Table(
    "file_chunks",
    metadata,
    _organization(),
    Column("file_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("place", Integer, nullable=False, comment="the texts of all places, one behind the other, are the file's"),
    Column("id", Text, nullable=False),
    Column("first_line", BigInteger, nullable=False, comment="the line that its first character stands in, from 1"),
    Column("last_line", BigInteger, nullable=False),
    Column("start", BigInteger, nullable=False, comment="characters of the file before it"),
    Column("heading", Text, comment="the headings that it stands under"),
    Column("text", Text, nullable=False),
    Column("search_text", Text, nullable=False, comment="what full-text search finds"),
    Column("search_id", BigInteger, nullable=False, comment="the row's number in the embedded full-text index"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "file_id", "version", "place"),
    UniqueConstraint("organization_id", "id", name="file_chunks_id"),
    ForeignKeyConstraint(["organization_id", "file_id"], ["files.organization_id", "files.id"], ondelete="CASCADE"),
    Index("file_chunks_by_line", "organization_id", "file_id", "version", "last_line"),
    Index("file_chunks_by_search_id", "search_id"),
)

agent_folders = Table(
    "agent_folders",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("folder_id", Text, nullable=False),
    Column("attached_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "folder_id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(
        ["organization_id", "folder_id"], ["folders.organization_id", "folders.id"], ondelete="CASCADE"
    ),
    Index("agent_folders_by_folder", "organization_id", "folder_id", "agent_id"),
)

agent_files = Table(
    "agent_files",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("file_id", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column(
        "first_line", BigInteger, comment="where the view begins that the agent asked for, from 1; NULL: at the start"
    ),
    Column("last_line", BigInteger, comment="where it ends; NULL: as far as there is room"),
    Column("accessed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "file_id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["organization_id", "file_id"], ["files.organization_id", "files.id"], ondelete="CASCADE"),
    Index("agent_files_by_file", "organization_id", "file_id", "agent_id"),
)

mcp_servers = Table(
    "mcp_servers",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("server_type", Text, nullable=False, comment="stdio, streamable_http or sse"),
    Column("sealed_configuration", Text, nullable=False, comment="sealed: how it is reached, as JSON"),
    Column("looked_at", Text, nullable=False, comment="JSON: what came of the last look at its tools"),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False, comment="JSON: its author"),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False, comment="JSON: the author of the last change"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="mcp_servers_name"),
)

mcp_authorizations = Table(
    "mcp_authorizations",
    metadata,
    _organization(),
    Column("server_id", Text, nullable=False),
    Column(
        "subject",
        Text,
        nullable=False,
        comment="whose they are: a digest of agents' variables; empty for the organisation's",
    ),
    Column("sealed_tokens", Text, nullable=False, comment="sealed: tokens, and what the server is told"),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "server_id", "subject"),
    ForeignKeyConstraint(
        ["organization_id", "server_id"], ["mcp_servers.organization_id", "mcp_servers.id"], ondelete="CASCADE"
    ),
)

mcp_sign_ins = Table(
    "mcp_sign_ins",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="SHA-256 of the state that the browser comes back with"),
    Column("server_id", Text, nullable=False),
    Column("sealed_answer", Text, comment="sealed: what the browser came back with; NULL before"),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "server_id"], ["mcp_servers.organization_id", "mcp_servers.id"], ondelete="CASCADE"
    ),
    Index("mcp_sign_ins_by_id", "id"),
    Index("mcp_sign_ins_by_end", "expires_at"),
)

identities = Table(
    "identities",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("identifier_key", Text, nullable=False, comment="what the program that made it calls it"),
    Column("name", Text, nullable=False),
    Column("identity_type", Text, nullable=False, comment="org, user or other"),
    Column("project_id", Text, nullable=False, comment="empty for none"),
    Column("properties", Text, nullable=False, comment="JSON: a list of key, value and type"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "identifier_key", "project_id", name="identities_key"),
    Index("identities_by_age", "organization_id", "created_at", "id"),
)


def _identity_holders(name: str, column: str, table: str) -> Table:
    """Return the table that says which agents or blocks belong to an identity."""
    return Table(
        name,
        metadata,
        _organization(),
        Column("identity_id", Text, nullable=False),
        Column(column, Text, nullable=False),
        PrimaryKeyConstraint("organization_id", "identity_id", column),
        ForeignKeyConstraint(
            ["organization_id", "identity_id"], ["identities.organization_id", "identities.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete="CASCADE"
        ),
        Index(f"{name}_by_holder", "organization_id", column, "identity_id"),
    )


identity_agents = _identity_holders("identity_agents", "agent_id", "agents")
identity_blocks = _identity_holders("identity_blocks", "block_id", "blocks")

archives = Table(
    "archives",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("embedding", Text, comment="handle of the model that its passages are embedded with; NULL for none"),
    Column("embedding_version", Integer, nullable=False, comment="how often that has changed"),
    Column("searched_embedding", Text, comment="the one whose vectors are searched"),
    Column("searched_version", Integer, nullable=False),
    Column("passage_count", Integer, nullable=False),
    Column("configuration", Text, nullable=False, comment="JSON: metadata, what was said of the embedding model"),
    Column("made_for", Text, comment="the agent that it was made for by itself"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("archives_by_age", "organization_id", "created_at", "id"),
    Index("archives_by_name", "organization_id", "name", "created_at", "id"),
    _index_of_few("archives_by_agent", "made_for"),
)

agent_archives = Table(
    "agent_archives",
    metadata,
    _organization(),
    Column("agent_id", Text, nullable=False),
    Column("archive_id", Text, nullable=False),
    Column("access", Text, nullable=False, comment="write, append or read"),
    Column("attached_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "agent_id", "archive_id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(
        ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
    ),
    Index("agent_archives_by_archive", "organization_id", "archive_id", "agent_id"),
)

archive_tags = Table(
    "archive_tags",
    metadata,
    _organization(),
    Column("archive_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("count", Integer, nullable=False, comment="passages that have it"),
    PrimaryKeyConstraint("organization_id", "archive_id", "tag"),
    ForeignKeyConstraint(
        ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
    ),
)

passages = Table(
    "passages",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("archive_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("search_text", Text, nullable=False, comment="what full-text search finds"),
    Column("search_id", BigInteger, nullable=False, comment="the row's number in the embedded full-text index"),
    Column("metadata", Text, nullable=False, comment="JSON: the creator's own"),
    Column("author", Text, nullable=False, comment="JSON: who wrote it"),
    Column("author_id", Text),
    Column("author_name", Text),
    Column("embedded_version", Integer, nullable=False, comment="the archive's embedding that was seen to; 0 for none"),
    Column("embedding_error", Text, comment="why it has no vector of that embedding"),
    Column("created_at", BigInteger, nullable=False, comment="when its creator says that it is from"),
    Column("stored_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
    ),
    Index("passages_by_age", "organization_id", "archive_id", "created_at", "id"),
    Index("passages_by_time", "organization_id", "created_at", "id"),
    Index("passages_by_author", "organization_id", "archive_id", "author_id", "created_at"),
    Index("passages_to_embed", "organization_id", "archive_id", "embedded_version", "search_id"),
    Index("passages_by_search_id", "search_id"),
)

passage_tags = Table(
    "passage_tags",
    metadata,
    _organization(),
    Column("archive_id", Text, nullable=False),
    Column("passage_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("place", Integer, nullable=False, comment="in the order in which they were given"),
    PrimaryKeyConstraint("organization_id", "passage_id", "tag"),
    ForeignKeyConstraint(
        ["organization_id", "passage_id"], ["passages.organization_id", "passages.id"], ondelete="CASCADE"
    ),
    Index("passage_tags_by_tag", "organization_id", "archive_id", "tag", "passage_id"),
)

passage_vectors = Table(
    "passage_vectors",
    metadata,
    _organization(),
    Column("archive_id", Text, nullable=False),
    Column("version", Integer, nullable=False, comment="of the archive's embedding"),
    Column("place", Integer, nullable=False, comment="in the order in which they came"),
    Column("passage_id", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("bits", LargeBinary, nullable=False, comment="the signs of its values"),
    Column("vector", _VECTOR, nullable=False, comment="of length 1"),
    PrimaryKeyConstraint("organization_id", "archive_id", "version", "place"),
    ForeignKeyConstraint(
        ["organization_id", "passage_id"], ["passages.organization_id", "passages.id"], ondelete="CASCADE"
    ),
    Index("passage_vectors_by_passage", "organization_id", "passage_id"),
)

deleted_passages = Table(
    "deleted_passages",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="the passage"),
    Column("archive_id", Text, nullable=False),
    Column("author", Text, nullable=False, comment="JSON: who wrote it"),
    Column("deleted_by", Text, nullable=False, comment="JSON: who deleted it"),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
    ),
    Index("deleted_passages_by_age", "organization_id", "archive_id", "deleted_at", "id"),
)

file_vectors = Table(
    "file_vectors",
    metadata,
    _organization(),
    Column("folder_id", Text, nullable=False),
    Column("version", Integer, nullable=False, comment="told from the model's handle"),
    Column("place", Integer, nullable=False, comment="in the order in which they came"),
    Column("chunk_id", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("bits", LargeBinary, nullable=False, comment="the signs of its values"),
    Column("vector", _VECTOR, nullable=False, comment="of length 1"),
    PrimaryKeyConstraint("organization_id", "folder_id", "version", "place"),
    ForeignKeyConstraint(
        ["organization_id", "chunk_id"], ["file_chunks.organization_id", "file_chunks.id"], ondelete="CASCADE"
    ),
    Index("file_vectors_by_chunk", "organization_id", "chunk_id"),
)

mcp_subscriptions = Table(
    "mcp_subscriptions",
    metadata,
    _organization(),
    Column("session", Text, nullable=False),
    Column("member", Text, nullable=False, comment="its key; empty for who needs none"),
    Column("address", Text, nullable=False, comment="the resource"),
    Column("seen_block", Text, comment="what stood behind it when it was subscribed to"),
    Column("seen_version", Integer),
    Column("heard_at", BigInteger, nullable=False, comment="when somebody last began to listen to the session"),
    PrimaryKeyConstraint("organization_id", "session", "member", "address"),
    Index("mcp_subscriptions_by_member", "organization_id", "member"),
    Index("mcp_subscriptions_by_age", "organization_id", "heard_at"),
)

groups = Table(
    "groups",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column(
        "manager_type", Text, nullable=False, comment="round_robin, supervisor, dynamic, sleeptime, voice_sleeptime"
    ),
    Column("manager_agent_id", Text, comment="who leads it, or whose memory its members tend; NULL for none"),
    Column("description", Text, nullable=False),
    Column("max_turns", Integer, comment="how often somebody speaks in one turn of the group"),
    Column("termination_token", Text, comment="what the manager of a dynamic group ends a turn with"),
    Column("sleeptime_agent_frequency", Integer, comment="turns from one consolidation to the next"),
    Column("max_message_buffer_length", Integer),
    Column("min_message_buffer_length", Integer),
    Column("turns_counter", Integer, comment="turns since the last consolidation; -1 before the first turn"),
    Column("last_processed_message_id", Text, comment="up to which message was consolidated last"),
    Column("next_run_id", Text, comment="the run that is to consolidate next, once it is due"),
    Column("owns_members", Boolean, nullable=False, comment="whether its members were made for the manager"),
    Column("next_sequence", BigInteger, nullable=False, comment="place of the next of its messages"),
    Column("hidden", Boolean),
    Column("project_id", Text),
    Column("template_id", Text),
    Column("base_template_id", Text),
    Column("deployment_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "manager_agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
    ),
    Index("groups_by_age", "organization_id", "created_at", "id"),
    _index_of_few("groups_by_manager", "manager_agent_id"),
)


def _of_group(name: str, column: str, table: str, *columns: Column[Any]) -> Table:
    """Return a table of what a group has: agents, blocks or conversations, each once."""
    return Table(
        name,
        metadata,
        _organization(),
        Column("group_id", Text, nullable=False),
        Column(column, Text, nullable=False),
        *columns,
        PrimaryKeyConstraint("organization_id", "group_id", column),
        ForeignKeyConstraint(
            ["organization_id", "group_id"], ["groups.organization_id", "groups.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete="CASCADE"
        ),
        Index(f"{name}_by_held", "organization_id", column, "group_id"),
    )


group_members = _of_group("group_members", "agent_id", "agents", Column("place", Integer, nullable=False))
group_blocks = _of_group("group_blocks", "block_id", "blocks", Column("attached_at", BigInteger, nullable=False))
group_conversations = _of_group(
    "group_conversations",
    "conversation_id",
    "conversations",
    Column("agent_id", Text, nullable=False, comment="whose conversation in the group it is"),
    Column("heard_to", BigInteger, nullable=False, comment="place of the first message not told yet"),
)
group_readings = _of_group(
    "group_readings",
    "conversation_id",
    "conversations",
    Column("read_to", BigInteger, nullable=False, comment="place of its first message not consolidated"),
)

group_messages = Table(
    "group_messages",
    metadata,
    _organization(),
    Column("group_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    PrimaryKeyConstraint("organization_id", "group_id", "sequence"),
    ForeignKeyConstraint(["organization_id", "group_id"], ["groups.organization_id", "groups.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(
        ["organization_id", "message_id", "conversation_id"],
        ["messages.organization_id", "messages.id", "messages.conversation_id"],
        ondelete="CASCADE",
    ),
    Index("group_messages_by_message", "organization_id", "message_id", "conversation_id"),
)

projects = Table(
    "projects",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, comment="its name in addresses"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "slug", name="projects_slug"),
)

schedules = Table(
    "schedules",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("request", Text, nullable=False, comment="JSON: what was asked for, as the wire format has it"),
    Column("said", Text, nullable=False, comment="JSON: the messages, as runs keep them"),
    Column("details", Text, nullable=False, comment="JSON: what each run says of the request"),
    Column("max_steps", Integer, nullable=False),
    Column("cron", Text, comment="NULL for what is said once"),
    Column("timezone", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False, comment="when it is due next"),
    Column("created_by", Text, nullable=False, comment="JSON: on whose behalf its turns are taken"),
    Column("last_run_id", Text),
    Column("last_due_at", BigInteger, comment="when the last run was due"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    Index("schedules_by_agent", "organization_id", "agent_id", "created_at", "id"),
    Index("schedules_by_due", "due_at"),  # of all organisations: what a process looks for
)

model_providers = Table(
    "model_providers",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False, comment="what its models' handles begin with"),
    Column("provider_type", Text, nullable=False),
    Column("base_url", Text, comment="NULL for the type's usual address"),
    Column("region", Text),
    Column("api_version", Text),
    Column("sealed", Text, comment="its keys, encrypted"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("last_synced", BigInteger, comment="when its models were last listed because somebody asked for that"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="model_providers_name"),
    Index("model_providers_by_age", "organization_id", "created_at", "id"),
)

templates = Table(
    "templates",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("project_id", Text, nullable=False),
    Column("plan", Text, nullable=False, comment="JSON: what is being worked on"),
    Column("latest_version", Integer, nullable=False),
    Column("migration", Text, comment="JSON: to which version agents are to be led, and how"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("organization_id", "name", name="templates_name"),
)

template_versions = Table(
    "template_versions",
    metadata,
    _organization(),
    Column("template_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("plan", Text, nullable=False, comment="JSON: its agents and their blocks"),
    Column("message", Text, comment="what its saver said of it"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "template_id", "version"),
    ForeignKeyConstraint(
        ["organization_id", "template_id"], ["templates.organization_id", "templates.id"], ondelete="CASCADE"
    ),
)

deployments = Table(
    "deployments",
    metadata,
    _organization(),
    Column("id", Text, nullable=False),
    Column("template_id", Text, nullable=False),
    Column("version", Integer, nullable=False, comment="at which its agents are"),
    Column("attempted_version", Integer, nullable=False, comment="to which they were to be led last"),
    Column("memory_variables", Text, nullable=False, comment="JSON: what was filled in"),
    Column("error", Text, comment="why they could not be led there"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "template_id"], ["templates.organization_id", "templates.id"], ondelete="CASCADE"
    ),
    Index("deployments_by_template", "organization_id", "template_id", "created_at", "id"),
)

batches = Table(
    "batches",
    metadata,
    _organization(),
    Column("id", Text, nullable=False, comment="its job"),
    Column("callback_url", Text),
    Column("callback_sent_at", BigInteger),
    Column("callback_status_code", Integer),
    Column("callback_error", Text),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(["organization_id", "id"], ["jobs.organization_id", "jobs.id"], ondelete="CASCADE"),
)

batch_items = Table(
    "batch_items",
    metadata,
    _organization(),
    Column("batch_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("request", Text, nullable=False, comment="JSON: what is said to the agent, and how, until it was"),
    Column("state", Text, nullable=False, comment="waiting, succeeded, failed or cancelled"),
    Column("run_id", Text, comment="the run that was begun last for it"),
    PrimaryKeyConstraint("organization_id", "batch_id", "place"),
    ForeignKeyConstraint(
        ["organization_id", "batch_id"], ["batches.organization_id", "batches.id"], ondelete="CASCADE"
    ),
    ForeignKeyConstraint(["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"),
    Index("batch_items_by_agent", "organization_id", "agent_id"),
)
