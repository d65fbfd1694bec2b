"""Blocks on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from folkmoot.identifiers import USER
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import DEFAULT_LIMIT, Block
from folkmoot.server.wire.common import Reply, Request, Text, moment

Label = Annotated[Text, Field(min_length=1, max_length=200, description="Name of the block in an agent's context.")]
Limit = Annotated[int, Field(ge=1, le=50_000_000, description="Most characters the block may hold.")]


class BlockFields(Request):
    """What a creator or an owner may set besides label, value and limit."""

    read_only: bool | None = Field(None, description="Agents cannot change it by any tool.")
    description: Text | None = Field(None, description="What it is for; agents read it.")
    metadata: dict[str, Any] | None = None
    tags: list[Text] | None = None
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

    @classmethod
    def of(cls, author: Author) -> AuthorReply:
        """Show an author."""
        return cls(type=author.type, id=author.id, name=author.name, run_id=author.run_id, step_id=author.step_id)


class BlockReply(Reply):
    """A block; `version`, `created_at`, `updated_at` and `updated_by` are Folkmoot's own fields."""

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

    @classmethod
    def of(cls, block: Block, *, read_only: bool = False) -> BlockReply:
        """Show a block; `read_only` when the agent it is shown for may only read it."""
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
            read_only=block.read_only or read_only,
            description=block.description,
            metadata=block.metadata,
            hidden=block.hidden,
            id=block.id,
            created_by_id=USER,
            last_updated_by_id=USER,
            tags=list(block.tags),
            version=block.version,
            created_at=moment(block.created_at),
            updated_at=moment(block.updated_at),
            updated_by=AuthorReply.of(block.updated_by),
        )
