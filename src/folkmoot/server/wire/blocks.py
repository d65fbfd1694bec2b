"""Blocks on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, Header
from pydantic import Discriminator, Field
from pydantic import Tag as Kind

from folkmoot.errors import InvalidInput
from folkmoot.identifiers import user_of
from folkmoot.memory.attachments import Access
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import DEFAULT_LIMIT, Block
from folkmoot.memory.edits import Append, Edit, Insert, Patch, Replace, Rethink
from folkmoot.memory.history import Reader, Version, WrittenLine
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Number, Reply, Request, Tag, Text, moment

Label = Annotated[Text, Field(min_length=1, max_length=200, description="Name of the block in an agent's context.")]
Limit = Annotated[int, Field(ge=1, le=50_000_000, description="Most characters the block may hold.")]


class BlockFields(Request):
    """What a creator or an owner may set besides label, value and limit."""

    read_only: bool | None = Field(None, description="Agents cannot change it by any tool.")
    require_version: bool | None = Field(
        None, description="Its text is only overwritten with If-Match, which says what version was read."
    )
    description: Text | None = Field(None, description="What it is for; agents read it.")
    metadata: JsonObject | None = None
    tags: list[Tag] | None = Field(None, max_length=MOST_ITEMS)
    hidden: bool | None = None
    project_id: Text | None = None
    is_template: bool | None = None
    template_name: Text | None = None
    template_id: Text | None = None
    base_template_id: Text | None = None
    deployment_id: Text | None = None
    entity_id: Text | None = None
    preserve_on_migration: bool | None = None


class CreateBlock(BlockFields):
    """A new block."""

    label: Label
    value: Text
    limit: Limit = DEFAULT_LIMIT


class UpdateBlock(BlockFields):
    """Changes to a block; what is left out stays as it is."""

    label: Label | None = None
    value: Text | None = None
    limit: Limit | None = None

    def changes(self) -> dict[str, Any]:
        """Return only what the request named."""
        return self.model_dump(exclude_unset=True)


class AuthorReply(Reply):
    """Who wrote a version."""

    type: str
    id: str | None
    name: str | None
    run_id: str | None = None
    step_id: str | None = None
    client: str | None = Field(None, description="The program that was used, as it names itself.")

    @classmethod
    def of(cls, author: Author) -> AuthorReply:
        """Show an author."""
        return cls.model_construct(
            type=author.type,
            id=author.id,
            name=author.name,
            run_id=author.run_id,
            step_id=author.step_id,
            client=author.client,
        )


class BlockReply(Reply):
    """A block; `version`, `created_at`, `updated_at`, `updated_by` and `access` are Folkmoot's own fields."""

    value: str
    limit: int
    project_id: str | None
    template_name: str | None
    is_template: bool
    template_id: str | None
    base_template_id: str | None
    deployment_id: str | None
    entity_id: str | None
    preserve_on_migration: bool
    label: str
    read_only: bool
    description: str | None
    metadata: dict[str, Any]
    hidden: bool | None
    id: str
    created_by_id: str | None
    last_updated_by_id: str | None
    tags: list[str]
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: AuthorReply
    access: Access | None = Field(description="What the agent it is shown for may do with it.")
    require_version: bool

    @classmethod
    def of(cls, block: Block, access: Access | None = None) -> BlockReply:
        """Show a block, with the access of the agent that it is shown for."""
        return cls.model_construct(
            value=block.value,
            limit=block.limit,
            project_id=block.project_id,
            template_name=block.template_name,
            is_template=block.is_template,
            template_id=block.template.get("template_id"),
            base_template_id=block.template.get("base_template_id"),
            deployment_id=block.template.get("deployment_id"),
            entity_id=block.template.get("entity_id"),
            preserve_on_migration=bool(block.template.get("preserve_on_migration")),
            label=block.label,
            read_only=block.read_only or access == "read",
            description=block.description,
            metadata=dict(block.metadata),
            hidden=block.hidden,
            id=block.id,
            created_by_id=user_of(block.organization_id),
            last_updated_by_id=user_of(block.organization_id),
            tags=list(block.tags),
            version=block.version,
            created_at=moment(block.created_at),
            updated_at=moment(block.updated_at),
            updated_by=AuthorReply.of(block.updated_by),
            access=access,
            require_version=block.require_version,
        )


class OverwrittenReply(Reply):
    """A version by somebody else whose text was replaced as a whole; it stands in the history."""

    version: int
    author: AuthorReply
    created_at: datetime


class ChangedBlockReply(BlockReply):
    """A block after a change that has overwritten somebody else's text."""

    overwrote: OverwrittenReply | None = Field(
        None, description="The version of another author that was overwritten without being named by If-Match."
    )


def show_change(
    before: Block, after: Block, expected: int | None, *, whole: bool, access: Access | None = None
) -> BlockReply:
    """Show a changed block.

    Args:
        before: the block as it was.
        after: the block as it is.
        expected: the version that the writer said it had read; None when it said none.
        whole: whether the whole text was replaced.
        access: that of the agent that the block is shown for.
    """
    reply = BlockReply.of(after, access)
    unseen = whole and expected is None and before.value not in ("", after.value)
    if not unseen or before.updated_by.is_same_as(after.updated_by):
        return reply
    author, at = AuthorReply.of(before.updated_by), moment(before.updated_at)
    overwrote = OverwrittenReply(version=before.version, author=author, created_at=at)
    return ChangedBlockReply.model_construct(**dict(reply), overwrote=overwrote)


class InsertEdit(Request):
    """Add lines; nothing that stands in the block is lost."""

    kind: Literal["insert"]
    new_string: Text
    insert_line: int = Field(-1, description="Line after which they go; 0: before the first, -1: at the end.")

    def edit(self) -> Edit:
        """Return the edit."""
        return Insert(self.new_string, self.insert_line)


class AppendEdit(Request):
    """Add text at the end, on a new line."""

    kind: Literal["append"]
    content: Text

    def edit(self) -> Edit:
        """Return the edit."""
        return Append(self.content)


class ReplaceEdit(Request):
    """Replace the only place where a passage stands."""

    kind: Literal["replace"]
    old_string: Text
    new_string: Text

    def edit(self) -> Edit:
        """Return the edit."""
        return Replace(self.old_string, self.new_string)


class RethinkEdit(Request):
    """Replace the whole text."""

    kind: Literal["rethink"]
    new_memory: Text

    def edit(self) -> Edit:
        """Return the edit."""
        return Rethink(self.new_memory)


class PatchEdit(Request):
    """Apply every hunk of a unified diff, or none."""

    kind: Literal["patch"]
    patch: Text

    def edit(self) -> Edit:
        """Return the edit."""
        return Patch(self.patch)


def _kind_of(value: Any) -> Any:
    return value.get("kind", "") if isinstance(value, dict) else getattr(value, "kind", "")


AnyEdit: TypeAlias = Annotated[
    Annotated[InsertEdit, Kind("insert")]
    | Annotated[AppendEdit, Kind("append")]
    | Annotated[ReplaceEdit, Kind("replace")]
    | Annotated[RethinkEdit, Kind("rethink")]
    | Annotated[PatchEdit, Kind("patch")],
    Discriminator(
        _kind_of,
        custom_error_type="edit_kind",
        custom_error_message="kind has to be insert, append, replace, rethink or patch",
    ),
]


class AttachBlock(Request):
    """How a block is attached."""

    access: Access | None = Field(None, description="write (the default), append or read.")


class RevertBlock(Request):
    """Which version's text becomes the text again."""

    version: Annotated[Number, Field(ge=1)]


class VersionReply(Reply):
    """One version of a block."""

    version: int
    author: AuthorReply
    created_at: datetime
    edit: dict[str, Any] = Field(description="What was asked for: its kind, and the kind's own fields.")
    characters: int

    @classmethod
    def of(cls, version: Version) -> VersionReply:
        """Show a version."""
        return cls(**_version_fields(version))


class VersionTextReply(VersionReply):
    """One version of a block with its text."""

    value: str

    @classmethod
    def with_text(cls, version: Version, text: str) -> VersionTextReply:
        """Show a version and its text."""
        return cls(**_version_fields(version), value=text)


class VersionChangeReply(VersionReply):
    """One version of a block with what of its text differs from the version before."""

    change: list[tuple[int, int, str]] = Field(
        description="Splices `[start, end, replacement]`: these characters of the text before make way for others."
    )

    @classmethod
    def with_change(cls, version: Version, change: str) -> VersionChangeReply:
        """Show a version and its change, which is JSON already and says what an edit's whole text would say again."""
        fields = _version_fields(version)
        edit = {name: value for name, value in version.edit.items() if name != "text"}
        return cls(**{**fields, "edit": edit}, change=json.loads(change))


class BlameLineReply(Reply):
    """A line of a block, and who last wrote it."""

    number: int
    text: str
    version: int
    author: AuthorReply
    created_at: datetime


class BlameReply(Reply):
    """Who wrote each line of a block, or each of a page of its lines."""

    block_id: str
    version: int
    line_count: int
    lines: list[BlameLineReply]

    @classmethod
    def of(cls, block_id: str, version: int, lines: Sequence[WrittenLine], after: int, line_count: int) -> BlameReply:
        """Show who wrote each line behind the first `after`; a line's text is shown without its line break."""
        shown = [
            BlameLineReply.model_construct(
                number=number,
                text=line.text.rstrip("\r\n"),
                version=line.version.number,
                author=AuthorReply.of(line.version.author),
                created_at=moment(line.version.created_at),
            )
            for number, line in enumerate(lines, after + 1)
        ]
        return cls.model_construct(block_id=block_id, version=version, line_count=line_count, lines=shown)


class ReaderReply(Reply):
    """A step whose model was shown a version of a block."""

    version: int
    agent_id: str
    run_id: str
    step_id: str
    created_at: datetime

    @classmethod
    def of(cls, reader: Reader) -> ReaderReply:
        """Show a reader."""
        return cls(
            version=reader.version,
            agent_id=reader.agent_id,
            run_id=reader.run_id,
            step_id=reader.step_id,
            created_at=moment(reader.created_at),
        )


def _version_fields(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "author": AuthorReply.of(version.author),
        "created_at": moment(version.created_at),
        "edit": dict(version.edit),
        "characters": version.length,
    }


def version_header(version: int) -> dict[str, str]:
    """Return the header that tells a block's version."""
    return {"ETag": f'"{version}"'}


async def read_expected(
    if_match: Annotated[str | None, Header(description='Only write when the block is at this version: `"7"`.')] = None,
) -> int | None:
    """Return the version that the request expects, None when it takes any.

    Raises:
        InvalidInput: the header is not a version.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'"?(\d{1,9})"?', if_match.strip())
    if match is None:
        raise InvalidInput(f'If-Match: {if_match!r} is not a version; send the ETag you were given, such as "7".')
    return int(match[1])


ExpectedVersion: TypeAlias = Annotated[int | None, Depends(read_expected)]
