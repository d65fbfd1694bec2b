"""The one place that writes blocks: create, edit, update, delete.

Every function works in a transaction that the caller opened, so that an agent's edit commits together with the step
that made it. Text changes only under the block's lock: the edit is applied to the text as it is then, and the new text
and one history row are written together.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot import tracing
from folkmoot.errors import EditRefused, Forbidden, NotFound, PreconditionFailed, PreconditionRequired
from folkmoot.identifiers import new_id
from folkmoot.memory import history
from folkmoot.memory.attachments import BLOCK_COLUMNS, Access, relabel
from folkmoot.memory.authors import Author
from folkmoot.memory.edits import Append, Edit, Insert, Refusal, Rethink, Revert, SetText, apply, describe
from folkmoot.metrics import EDITS
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import leave_places, leaving
from folkmoot.store.tables import block_readers, block_tags, blocks
from folkmoot.store.tags import tags_in_order

DEFAULT_LIMIT = 100_000
"""Characters a block may hold when its creator named no limit."""

LONGEST_TOLD = 1_000_000
"""Characters of a text that a refusal tells whole."""

TEMPLATE_FIELDS = ("template_id", "base_template_id", "deployment_id", "entity_id", "preserve_on_migration")


@dataclass(frozen=True, slots=True)
class Block:
    """A labelled piece of text, as it is at `version`. `limit` counts characters, times are in microseconds."""

    id: str
    organization_id: str
    label: str
    value: str
    limit: int
    description: str | None
    read_only: bool
    hidden: bool | None
    project_id: str | None
    is_template: bool
    template_name: str | None
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    template: Mapping[str, Any]
    version: int
    created_at: int
    updated_at: int
    updated_by: Author
    require_version: bool
    """Whether who overwrites the text from outside must say which version of it was read."""

    @classmethod
    def from_row(cls, row: Row) -> Block:
        """Read a row of the blocks table with its tags, as `BLOCK_COLUMNS` select it."""
        extra = json.loads(row["extra"])
        hidden = row["hidden"]
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            label=row["label"],
            value=row["value"],
            limit=row["character_limit"],
            description=row["description"],
            read_only=bool(row["read_only"]),
            hidden=None if hidden is None else bool(hidden),
            project_id=row["project_id"],
            is_template=bool(row["is_template"]),
            template_name=row["template_name"],
            metadata=extra["metadata"],
            tags=tags_in_order(row["tags"]),
            template=extra["template"],
            version=row["version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            updated_by=Author.from_json(row["updated_by"]),
            require_version=bool(row["require_version"]),
        )


_by_id = select(*BLOCK_COLUMNS).where(blocks.c.id == bindparam("block_id"), is_kept(blocks.c.id))
_version_by_id = select(blocks.c.version).where(blocks.c.id == bindparam("block_id"), is_kept(blocks.c.id))
_by_id_locked = _by_id.with_for_update(key_share=True)
_set_text = (
    update(blocks)
    .where(blocks.c.id == bindparam("block_id"))
    .values(
        value=bindparam("new_value"),
        version=bindparam("new_version"),
        updated_at=bindparam("now"),
        updated_by=bindparam("author"),
    )
)


def labels_topic(organization_id: str | None) -> str:
    """Return the signal that a block of an organisation has another label, or is no more."""
    return f"labels:{organization_id}"


def topic(block_id: str) -> str:
    """Return the signal that a commit of this block's new version gives."""
    return f"block:{block_id}"


async def find_block(transaction: Transaction, block_id: str, *, lock: bool = False) -> Block:
    """Return the block; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such block.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, block_id=block_id)
    if row is None:
        raise NotFound(f"Block with id '{block_id}' not found")
    return Block.from_row(row)


async def version_of(transaction: Transaction, block_id: str) -> int:
    """Return which version the block is at, without its text.

    Raises:
        NotFound: there is no such block.
    """
    row = await transaction.first(_version_by_id, block_id=block_id)
    if row is None:
        raise NotFound(f"Block with id '{block_id}' not found")
    return int(row["version"])


async def create_block(transaction: Transaction, fields: Mapping[str, Any], author: Author) -> Block:
    """Create a block and its version 1.

    Args:
        transaction: where to write.
        fields: `label` and `value`, and any of the other fields of `Block` that a creator may set.
        author: who is named as the writer of version 1.

    Raises:
        EditRefused: the value is longer than the limit.
    """
    now = clock.now()
    limit = DEFAULT_LIMIT if fields.get("limit") is None else fields["limit"]
    block = Block(
        id=new_id("block"),
        organization_id=transaction.organization_id or "",
        label=fields["label"],
        value=fields["value"],
        limit=limit,
        description=fields.get("description"),
        read_only=bool(fields.get("read_only")),
        hidden=fields.get("hidden"),
        project_id=fields.get("project_id"),
        is_template=bool(fields.get("is_template")),
        template_name=fields.get("template_name"),
        metadata=fields.get("metadata") or {},
        tags=_unique(fields.get("tags") or ()),
        template={name: fields.get(name) for name in TEMPLATE_FIELDS},
        version=1,
        created_at=now,
        updated_at=now,
        updated_by=author,
        require_version=bool(fields.get("require_version")),
    )
    _check_limit(block.value, limit)
    row = _changeable_columns(block) | {
        "id": block.id,
        "value": block.value,
        "version": 1,
        "created_at": now,
        "updated_by": author.to_json(),
    }
    with _span("create_memory", block.id, author) as span:
        await transaction.insert(blocks, [row])
        await _write_tags(transaction, block.id, block.tags)
        await history.record(transaction, block.id, 1, None, block.value, {"kind": "create"}, author, now)
        _tell(span, block)
    return block


async def edit_block(
    transaction: Transaction,
    block_id: str,
    edit: Edit,
    author: Author,
    expected_version: int | None = None,
    access: Access | None = None,
) -> tuple[Block, Block] | Refusal:
    """Apply an edit to the block's text as it is now, as a new version by `author`.

    Args:
        transaction: where to write.
        block_id: which block.
        edit: what to do.
        author: who is named as the writer.
        expected_version: compare-and-set; None takes any.
        access: what a member may do with the block; None where that is not the question.

    Returns:
        The block before and after, or the refusal, in which case nothing was changed.

    Raises:
        NotFound: there is no such block.
        Forbidden: `access` does not allow the edit, or a member would change a read-only block.
        PreconditionFailed: it is not at `expected_version`.
        PreconditionRequired: it would be overwritten from outside, and must not be without `expected_version`.
    """
    with _span("update_memory", block_id, author) as span:
        before = await find_block(transaction, block_id, lock=True)
        if access is not None:
            _check_access(before, edit, access)
        _check_version(before, expected_version)
        if isinstance(edit, Rethink | Revert) and author.type != "agent":
            _require_version(before, expected_version)
        text = apply(before.value, edit, before.limit)
        if isinstance(text, Refusal):
            EDITS.add("refused", author.type)
            span.fail(text.code)
            return text
        after = await _write_text(transaction, before, text, edit, author)
        _tell(span, after)
        return before, after


async def edit_text(
    transaction: Transaction,
    block_id: str,
    edit: Edit,
    author: Author,
    expected_version: int | None = None,
    access: Access | None = None,
) -> tuple[Block, Block]:
    """Do what `edit_block` does, and raise a refusal.

    Raises:
        EditRefused: the edit does not apply; the error tells the text as it is now, unless that is very long.
    """
    outcome = await edit_block(transaction, block_id, edit, author, expected_version, access)
    if isinstance(outcome, Refusal):
        block = await find_block(transaction, block_id)
        value = block.value if len(block.value) <= LONGEST_TOLD else None
        raise EditRefused(outcome.reason, code=outcome.code, current_version=block.version, value=value)
    return outcome


async def update_block(
    transaction: Transaction,
    block_id: str,
    changes: Mapping[str, Any],
    author: Author,
    expected_version: int | None = None,
) -> tuple[Block, Block]:
    """Change the block's fields as its owner asks; a new value becomes a new version.

    Args:
        transaction: where to write.
        block_id: which block.
        changes: only the fields to change; `value` is the text.
        author: who is named as the writer, when the text changes.
        expected_version: compare-and-set; None takes any.

    Returns:
        The block before and after.

    Raises:
        NotFound: there is no such block.
        PreconditionFailed: it is not at `expected_version`.
        PreconditionRequired: its text must not be overwritten without `expected_version`.
        EditRefused: the text would be longer than the limit.
        Conflict: an agent that it is attached to has another block of the new label.
    """
    before = await find_block(transaction, block_id, lock=True)
    _check_version(before, expected_version)
    if changes.get("value") is not None:
        _require_version(before, expected_version)
    after = before
    fields = {name: value for name, value in changes.items() if name != "value"}
    if fields:
        after = _with_changes(before, fields)
    text = before.value if changes.get("value") is None else changes["value"]
    _check_limit(text, after.limit)
    if fields:
        await _write_fields(transaction, before, after)
    if changes.get("value") is not None:
        with _span("update_memory", block_id, author) as span:
            after = await _write_text(transaction, after, text, SetText(text), author)
            _tell(span, after)
    return before, after


async def revert_block(
    transaction: Transaction, block_id: str, edit: Revert, author: Author, expected_version: int | None = None
) -> Block:
    """Make the text of an earlier version the block's text again, as a new version.

    Raises:
        NotFound: there is no such block.
        PreconditionFailed: the block is not at `expected_version`.
        PreconditionRequired: it must not be overwritten without `expected_version`.
        EditRefused: that text is longer than the limit is now.
    """
    _, after = await edit_text(transaction, block_id, edit, author, expected_version)
    return after


async def delete_block(transaction: Transaction, block_id: str) -> None:
    """Delete the block with what is left of its history; agents lose it from their context."""
    await leave_places(transaction, _leaving, block_id=block_id)
    await transaction.run(delete(blocks).where(blocks.c.id == block_id))
    await transaction.run(delete(block_readers).where(block_readers.c.block_id == block_id))  # now that none is added
    transaction.signal(topic(block_id))
    transaction.signal(labels_topic(transaction.organization_id))


_leaving = leaving(blocks, blocks.c.id == bindparam("block_id"))


def _span(operation: str, block_id: str, author: Author) -> tracing.Span:
    known = {"gen_ai.operation.name": operation, "gen_ai.memory.record.id": block_id, "folkmoot.author": author.type}
    return tracing.span(operation, known)


def _tell(span: tracing.Span, block: Block) -> None:
    span.tell({"folkmoot.block.label": block.label, "folkmoot.block.version": block.version})
    if span.shows_content:
        record = {"id": block.id, "content": block.value, "metadata": {"label": block.label}}
        span.tell({"gen_ai.memory.records": json.dumps([record], ensure_ascii=False)})


async def _write_text(transaction: Transaction, block: Block, text: str, edit: Edit, author: Author) -> Block:
    now = clock.now()
    version = block.version + 1
    await transaction.run(
        _set_text, block_id=block.id, new_value=text, new_version=version, now=now, author=author.to_json()
    )
    await history.record(transaction, block.id, version, block.value, text, describe(edit), author, now)
    transaction.signal(topic(block.id))
    EDITS.add_on_commit("landed", author.type)
    return dataclasses.replace(block, value=text, version=version, updated_at=now, updated_by=author)


async def _write_fields(transaction: Transaction, before: Block, after: Block) -> None:
    await transaction.run(update(blocks).where(blocks.c.id == before.id).values(**_changeable_columns(after)))
    if list(after.tags) != list(before.tags):
        await transaction.run(delete(block_tags).where(block_tags.c.block_id == before.id))
        await _write_tags(transaction, before.id, after.tags)
    if after.label != before.label:
        await relabel(transaction, before.id, after.label)
        transaction.signal(labels_topic(transaction.organization_id))
    transaction.signal(topic(before.id))


async def _write_tags(transaction: Transaction, block_id: str, tags: Sequence[str]) -> None:
    await transaction.insert(
        block_tags, [{"block_id": block_id, "tag": tag, "place": place} for place, tag in enumerate(tags)]
    )


def _with_changes(block: Block, changes: Mapping[str, Any]) -> Block:
    template = {**block.template, **{name: changes[name] for name in TEMPLATE_FIELDS if name in changes}}
    fields = {name: value for name, value in changes.items() if name not in TEMPLATE_FIELDS}
    for name in ("label", "limit", "read_only", "is_template", "metadata", "require_version"):
        if name in fields and fields[name] is None:
            del fields[name]
    if "tags" in fields:
        fields["tags"] = _unique(fields["tags"] or ())
    return dataclasses.replace(block, **fields, template=template, updated_at=clock.now())


def _changeable_columns(block: Block) -> dict[str, Any]:
    return {
        "label": block.label,
        "character_limit": block.limit,
        "description": block.description,
        "read_only": block.read_only,
        "require_version": block.require_version,
        "hidden": block.hidden,
        "project_id": block.project_id,
        "is_template": block.is_template,
        "template_name": block.template_name,
        "extra": json.dumps({"metadata": block.metadata, "template": dict(block.template)}),
        "updated_at": block.updated_at,
    }


def _check_limit(text: str, limit: int) -> None:
    if len(text) > limit:
        raise EditRefused(
            f"value: the text has {len(text):,} characters, {len(text) - limit:,} more than the block's limit of "
            f"{limit:,}. Shorten it, or raise the limit."
        )


def _check_version(block: Block, expected: int | None) -> None:
    if expected is not None and expected != block.version:
        raise PreconditionFailed(
            f"The block is at version {block.version}, not {expected}. Read it again and change that text.",
            current_version=block.version,
        )


def _check_access(block: Block, edit: Edit, access: Access) -> None:
    if block.read_only or access == "read":
        raise Forbidden(f"Block {block.label!r} is read-only: it can be read but not changed. Nothing was changed.")
    if access == "append" and not isinstance(edit, Insert | Append):
        raise Forbidden(
            f"This key may only add to block {block.label!r}, with an insert; changing or removing what stands in it "
            "is not allowed to it. Nothing was changed."
        )


def _require_version(block: Block, expected: int | None) -> None:
    if block.require_version and expected is None:
        raise PreconditionRequired(
            f"Block {block.id} is not overwritten unseen: send If-Match with the version that you have read; it is at "
            f'version {block.version} now (If-Match: "{block.version}"). To add or replace a part, which needs no '
            f"version, use POST /v1/blocks/{block.id}/edits.",
            current_version=block.version,
        )


def _unique(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))
