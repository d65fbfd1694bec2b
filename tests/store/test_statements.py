"""Statements that differ in their values alone are compiled once, and each brings its own values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Select, bindparam, delete, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine import Dialect

from folkmoot.store.scoping import compile_scoped
from folkmoot.store.statements import SHAPES_KEPT, Statements
from folkmoot.store.tables import blocks, messages

DIALECTS: list[Dialect] = [sqlite_dialect(paramstyle="qmark"), asyncpg_dialect()]  # type: ignore[no-untyped-call]
SHARED = [Statements(dialect) for dialect in DIALECTS]
"""What has met all that was asked before."""

WORDS = st.lists(st.text(max_size=3), max_size=4)


def page(types: Sequence[str], names: Sequence[str], place: tuple[int, str] | None, limit: int) -> Select[tuple[str]]:
    """Return a statement of the kind that a list makes for each request."""
    statement = select(messages.c.id).where(messages.c.message_type.in_(types)).limit(limit)
    if names:
        statement = statement.where(or_(*(messages.c.name == name for name in names)))
    if place is not None:
        statement = statement.where(tuple_(messages.c.created_at, messages.c.id) > tuple_(*place))
    return statement


@pytest.mark.parametrize("number", range(len(DIALECTS)))
@given(
    types=WORDS,
    names=WORDS,
    place=st.none() | st.tuples(st.integers(0, 9), st.text(max_size=3)),
    limit=st.integers(1, 9),
    organization=st.sampled_from(["org-one", "org-other", None]),
)
def test_each_statement_is_what_it_would_be_compiled_alone(
    number: int,
    types: list[str],
    names: list[str],
    place: tuple[int, str] | None,
    limit: int,
    organization: str | None,
) -> None:
    for _ in range(3):  # met, kept, found
        shared = SHARED[number].text(page(types, names, place, limit), {}, organization)
    assert shared == Statements(DIALECTS[number]).text(page(types, names, place, limit), {}, organization)


def test_a_shape_is_compiled_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_and_count(statement: Select[tuple[str]], dialect: Dialect) -> object:
        compiled.append(statement)
        return compile_scoped(statement, dialect)

    monkeypatch.setattr("folkmoot.store.statements.compile_scoped", compile_and_count)
    statements = Statements(DIALECTS[0])
    said = [statements.text(page([word], [], None, 5), {}, f"org-{word}") for word in ("a", "b", "c", "d")]
    assert len(compiled) == 2
    assert len({text for text, _ in said}) == 1
    assert [values for _, values in said] == [[word, f"org-{word}", 5, 0] for word in ("a", "b", "c", "d")]
    for word in ("a", "b", "c"):
        statements.text(page([word, word], [], None, 5), {}, "org")
    assert len(compiled) == 4, "as many values are another text"
    lower = select(blocks.c.id).where(func.lower(blocks.c.label) == bindparam("label"))
    assert statements.text(lower, {"label": "x"}, "org")[1] == ["x", "org"]
    assert statements.text(delete(blocks).where(blocks.c.label == "y"), {}, "org")[1] == ["y", "org"]


def test_no_more_shapes_are_kept_than_there_is_room_for() -> None:
    statements = Statements(DIALECTS[0])
    for number in range(1, SHAPES_KEPT + 5):
        for _ in range(2):
            statements.text(page(["a"], ["n"] * number, None, 5), {}, "org")
    assert len(statements._shapes) == 4
