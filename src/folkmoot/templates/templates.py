"""Templates as they are stored: a name, the plan that is being worked on, and the versions that were saved of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.projects import is_in_project
from folkmoot.store.tables import template_versions, templates
from folkmoot.templates.plan import TemplatePlan

CURRENT = "current"
"""How the plan is named that is being worked on."""

LATEST = "latest"
"""How the newest version is named that was saved."""

RESERVED = frozenset({"agents", "rollback", "save", "versions"})
"""Names that no template can have: in paths they mean something else."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template without its plan. Times are in microseconds."""

    id: str
    name: str
    description: str | None
    project_id: str
    latest_version: int
    created_at: int
    updated_at: int

    @classmethod
    def from_row(cls, row: Row) -> Template:
        """Read a row of the templates table."""
        names = ("id", "name", "description", "project_id", "latest_version", "created_at", "updated_at")
        return cls(**{name: row[name] for name in names})


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was saved."""

    number: int
    message: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    """Which templates are wanted; what is None does not matter."""

    id: str | None = None
    name: str | None = None
    part_of_name: str | None = None
    project_id: str | None = None
    version: int | None = None
    order_by: Literal["created_at", "updated_at"] = "updated_at"


def _without_plan(columns: ReadOnlyColumnCollection[str, Any]) -> list[Any]:
    return [column for column in columns if column.name != "plan"]


_by_name = select(*_without_plan(templates.c)).where(templates.c.name == bindparam("wanted"))
_by_name_locked = _by_name.with_for_update()
_plan = select(templates.c.plan).where(templates.c.id == bindparam("of"))
_plan_of_version = select(template_versions.c.plan).where(
    template_versions.c.template_id == bindparam("of"), template_versions.c.version == bindparam("number")
)
_set_plan = (
    update(templates)
    .where(templates.c.id == bindparam("of"))
    .values(plan=bindparam("new_plan"), updated_at=bindparam("now"))
)
_set_latest = (
    update(templates)
    .where(templates.c.id == bindparam("of"))
    .values(latest_version=bindparam("number"), updated_at=bindparam("now"))
)
_delete = delete(templates).where(templates.c.id == bindparam("of"))


async def create_template(
    transaction: Transaction, plan: TemplatePlan, name: str | None, project_id: str, description: str | None = None
) -> Template:
    """Keep a plan under a name, a new one when that is None, and save it as version 1.

    Raises:
        Conflict: there is a template of this name.
        InvalidInput: no template can have it.
    """
    now = clock.now()
    name = name or f"template-{secrets.token_hex(4)}"
    await _refuse_name(transaction, name)
    row = {
        "id": new_id("template"),
        "name": name,
        "description": description,
        "project_id": project_id,
        "plan": plan.to_json(),
        "latest_version": 0,
        "created_at": now,
        "updated_at": now,
    }
    await transaction.insert(templates, [row])
    return await save_version(transaction, await find_template(transaction, name, lock=True))


async def find_template(transaction: Transaction, name: str, *, lock: bool = False) -> Template:
    """Return the template of a name; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is none.
    """
    row = await transaction.first(_by_name_locked if lock else _by_name, wanted=name)
    if row is None:
        raise NotFound(f"There is no template {name[:200]!r}.")
    return Template.from_row(row)


async def list_templates(
    transaction: Transaction, wanted: TemplateFilter, offset: int, limit: int
) -> tuple[list[Template], bool]:
    """Return some templates, the newest first, and whether there are more."""
    statement = select(*_without_plan(templates.c))
    if wanted.id is not None:
        statement = statement.where(templates.c.id == wanted.id)
    if wanted.name is not None:
        statement = statement.where(templates.c.name == wanted.name)
    if wanted.part_of_name:
        statement = statement.where(templates.c.name.icontains(wanted.part_of_name, autoescape=True))
    if wanted.project_id is not None:
        statement = statement.where(is_in_project(templates.c.project_id, wanted.project_id))
    if wanted.version is not None:
        statement = statement.where(templates.c.latest_version >= wanted.version)
    newest = (templates.c[wanted.order_by].desc(), templates.c.id.desc())
    rows = await transaction.all(statement.order_by(*newest).offset(offset).limit(limit + 1))
    return [Template.from_row(row) for row in rows[:limit]], len(rows) > limit


async def list_versions(
    transaction: Transaction, template: Template, offset: int, limit: int
) -> tuple[list[Version], int]:
    """Return some of a template's versions, the newest first, and how many there are."""
    mine = template_versions.c.template_id == template.id
    columns = (template_versions.c.version, template_versions.c.message, template_versions.c.created_at)
    statement = select(*columns).where(mine).order_by(template_versions.c.version.desc())
    rows = await transaction.all(statement.offset(offset).limit(limit))
    versions = [Version(row["version"], row["message"], row["created_at"]) for row in rows]
    return versions, await count_rows(transaction, count_of(template_versions, mine))


async def plan_of(transaction: Transaction, template: Template, version: str) -> tuple[TemplatePlan, int]:
    """Return a version's plan and its number: `current` is the one that is worked on, `latest` the newest saved one.

    Raises:
        NotFound: there is no such version.
    """
    if version == CURRENT:
        row = await transaction.first(_plan, of=template.id)
        number = template.latest_version
    else:
        number = template.latest_version if version == LATEST else _number(version)
        row = await transaction.first(_plan_of_version, of=template.id, number=number)
    if row is None:
        raise NotFound(
            f"version: template {template.name!r} has no version {version[:50]!r}; it has 1 to "
            f"{template.latest_version}, and `{LATEST}` and `{CURRENT}`."
        )
    return TemplatePlan.from_json(row["plan"]), number


async def set_plan(transaction: Transaction, template: Template, plan: TemplatePlan) -> None:
    """Let the template's current plan be this one; no version is saved."""
    await transaction.run(_set_plan, of=template.id, new_plan=plan.to_json(), now=clock.now())


async def save_version(transaction: Transaction, template: Template, message: str | None = None) -> Template:
    """Save the current plan as the next version."""
    plan, number = await transaction.first(_plan, of=template.id), template.latest_version + 1
    assert plan is not None
    now = clock.now()
    row = {"template_id": template.id, "version": number, "plan": plan["plan"], "message": message, "created_at": now}
    await transaction.insert(template_versions, [row])
    await transaction.run(_set_latest, of=template.id, number=number, now=now)
    return await find_template(transaction, template.name)


async def save_changes(transaction: Transaction, template: Template, message: str) -> Template:
    """Save the current plan as a version if it is not what the newest one says; return the template as it is then."""
    current, _ = await plan_of(transaction, template, CURRENT)
    latest, _ = await plan_of(transaction, template, LATEST)
    return template if current == latest else await save_version(transaction, template, message)


async def roll_back(transaction: Transaction, template: Template, version: str) -> int:
    """Let the current plan be an earlier version's, whose number is returned; what was changed since is saved first.

    Raises:
        NotFound: there is no such version.
        InvalidInput: the current one is no earlier one.
    """
    if version == CURRENT:
        raise InvalidInput(f"version: {version!r} is what is rolled back; name a version that was saved.")
    plan, number = await plan_of(transaction, template, version)
    await save_changes(transaction, template, f"Saved before the rollback to version {number}")
    await set_plan(transaction, template, plan)
    return number


async def rename_template(transaction: Transaction, template: Template, name: str) -> None:
    """Give the template another name.

    Raises:
        Conflict: there is a template of this name.
        InvalidInput: no template can have it.
    """
    if name != template.name:
        await _refuse_name(transaction, name)
    await _change(transaction, template, {"name": name})


async def describe_template(transaction: Transaction, template: Template, description: str | None) -> None:
    """Give the template another description."""
    await _change(transaction, template, {"description": description})


async def delete_template(transaction: Transaction, template: Template) -> None:
    """Delete the template with its versions; agents that were made from it stay."""
    await transaction.run(_delete, of=template.id)


async def _change(transaction: Transaction, template: Template, columns: Mapping[str, Any]) -> None:
    mine = templates.c.id == template.id
    await transaction.run(update(templates).where(mine).values(**columns, updated_at=clock.now()))


async def _refuse_name(transaction: Transaction, name: str) -> None:
    if name in RESERVED:
        raise InvalidInput(f"name: {name!r} means something else in paths; choose another one.")
    if await transaction.first(_by_name, wanted=name) is not None:
        raise Conflict(f"name: there is a template {name!r} already; choose another name, or change that one.")


def _number(version: str) -> int:
    return int(version) if version.isdecimal() and len(version) < 10 else -1


def split_name(named: str) -> tuple[str, str]:
    """Return the name and the version that a path names; the newest saved version when it names none.

    >>> split_name("shop:3"), split_name("shop")
    (('shop', '3'), ('shop', 'latest'))
    """
    name, _, version = named.rpartition("/")[2].partition(":")
    return name, version or LATEST
