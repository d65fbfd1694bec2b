"""No statement reaches another organisation's rows, and none can leave the condition out."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import column, delete, func, insert, literal, literal_column, select, table, text, update
from sqlalchemy.dialects.sqlite.pysqlite import dialect

from folkmoot.store.engine import Store, Transaction
from folkmoot.store.scoping import PARAMETER, compile_scoped
from folkmoot.store.tables import agent_blocks, agent_tags, agents, block_tags, blocks, metadata, runs

OWN, OTHER = "org-own", "org-other"

_again = agent_blocks.alias()
_tagged = select(block_tags.c.block_id).where(block_tags.c.tag == "x")
_tags = select(block_tags.c.tag).union(select(agent_tags.c.tag)).subquery()


def named(block_id: str) -> dict[str, Any]:
    return {
        "id": block_id,
        "label": "same",
        "value": "",
        "character_limit": 100,
        "read_only": False,
        "is_template": False,
        "extra": "{}",
        "version": 1,
        "created_at": 1,
        "updated_at": 1,
        "updated_by": "{}",
    }


@pytest.fixture
async def two(opened: Store) -> Store:
    """A store in which two organisations have blocks of the same identifiers."""
    for organization_id in (OWN, OTHER):
        store = opened.of(organization_id)
        await store.write(lambda transaction: transaction.insert(blocks, [named("a"), named("b")]))
        tag = {"block_id": "a", "tag": "x", "place": 0}
        await store.write(lambda transaction: transaction.insert(block_tags, [tag]))  # noqa: B023
    return opened


async def count(store: Store) -> int:
    async def read(transaction: Transaction) -> int:
        row = await transaction.first(select(func.count().label("count")).select_from(blocks))
        return int(row["count"]) if row is not None else 0

    return await store.read(read)


async def test_what_an_organisation_inserts_only_it_reads(two: Store) -> None:
    assert await count(two.of(OWN)) == 2
    assert await count(two.of("org-third")) == 0
    assert await count(two.everywhere) == 4


async def test_changes_and_deletions_stay_within_the_organisation(two: Store) -> None:
    own, other = two.of(OWN), two.of(OTHER)
    assert await own.write(lambda transaction: transaction.run(update(blocks).values(value="changed"))) == 2
    assert await own.write(lambda transaction: transaction.run(delete(blocks).where(blocks.c.id.in_(_tagged)))) == 1
    rows = await other.read(lambda transaction: transaction.all(select(blocks)))
    assert [row["value"] for row in rows] == ["", ""]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_transaction_of_one_organisation_does_not_become_anothers(two: Store) -> None:
    async def work(transaction: Transaction) -> None:
        transaction.within(OTHER)

    with pytest.raises(AssertionError, match="cannot become another's"):
        await two.of(OWN).read(work)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_row_cannot_be_inserted_for_another_organisation(two: Store) -> None:
    row = {"organization_id": OTHER, **named("c")}
    with pytest.raises(AssertionError, match="belongs to its transaction"):
        await two.of(OWN).write(lambda transaction: transaction.insert(blocks, [row]))


@pytest.mark.parametrize(
    ("statement", "conditions"),
    [
        pytest.param(select(blocks), 1, id="select"),
        pytest.param(select(func.count()).select_from(blocks), 1, id="count"),
        pytest.param(select(blocks).join(agent_blocks, agent_blocks.c.block_id == blocks.c.id), 2, id="join"),
        pytest.param(select(agent_blocks).join(_again, _again.c.agent_id == agent_blocks.c.agent_id), 2, id="alias"),
        pytest.param(select(agents).outerjoin(runs, runs.c.agent_id == agents.c.id), 2, id="outer join"),
        pytest.param(select(blocks).where(blocks.c.id.in_(_tagged)), 2, id="in"),
        pytest.param(select(agents).where(select(runs).where(runs.c.agent_id == agents.c.id).exists()), 2, id="exists"),
        pytest.param(select(agents, select(func.max(runs.c.id)).scalar_subquery()), 2, id="scalar"),
        pytest.param(select(_tags), 2, id="union"),
        pytest.param(select(agents).join(_tagged.cte(), agents.c.id == "a"), 2, id="with"),
        pytest.param(update(blocks).where(blocks.c.id.in_(_tagged)).values(value=""), 2, id="update"),
        pytest.param(delete(blocks).where(blocks.c.id.in_(_tagged)), 2, id="delete"),
    ],
)
def test_every_table_of_a_statement_is_narrowed(statement: Any, conditions: int) -> None:
    compiled = compile_scoped(statement, dialect(paramstyle="qmark"))
    assert (compiled.positiontup or []).count(PARAMETER) == conditions


def test_rows_that_are_copied_stay_the_organisations_own() -> None:
    names = ["organization_id", "block_id", "tag"]
    picked = select(block_tags.c.organization_id, block_tags.c.block_id, block_tags.c.tag)
    compiled = compile_scoped(insert(block_tags).from_select(names, picked), dialect(paramstyle="qmark"))
    assert (compiled.positiontup or []).count(PARAMETER) == 1
    with pytest.raises(TypeError):
        compile_scoped(
            insert(block_tags).from_select(["block_id", "tag"], select(agent_tags.c.tag, agent_tags.c.tag)), dialect()
        )


def test_an_outer_join_keeps_the_rows_that_have_none() -> None:
    sql = compile_scoped(select(agents).outerjoin(runs, runs.c.agent_id == agents.c.id), dialect()).string
    assert "runs.organization_id" in sql.partition("WHERE")[0]
    assert "runs.organization_id" not in sql.partition("WHERE")[2]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(text("SELECT * FROM blocks"), id="text"),
        pytest.param(select(blocks.c.id).select_from(text("agents")), id="table as text"),
        pytest.param(select(column("id")).select_from(table("blocks", column("id"))), id="table without its columns"),
        pytest.param(select(literal_column("(SELECT id FROM agents)")), id="select as text"),
        pytest.param(
            insert(block_tags).from_select(
                ["organization_id", "block_id", "tag"], select(literal("x"), blocks.c.id, blocks.c.label)
            ),
            id="another organisation's row",
        ),
        pytest.param(update(agents).where(agents.c.id == runs.c.agent_id).values(name=runs.c.status), id="update from"),
    ],
)
def test_a_statement_that_cannot_be_narrowed_is_refused(statement: Any) -> None:
    with pytest.raises(TypeError):
        compile_scoped(statement, dialect())


def test_every_table_belongs_to_organisations() -> None:
    without = [name for name, table in metadata.tables.items() if "organization_id" not in table.primary_key.columns]
    assert without == []
