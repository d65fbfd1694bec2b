"""A reply that is made of right values without checking them is what pydantic makes of them."""

from __future__ import annotations

from pydantic import Field

from folkmoot.server.wire.common import Reply, json_response


class Shown(Reply):
    """A reply with a default and with a field that goes by another name."""

    id: str
    count: int = 0
    next_cursor: str | None = Field(None, alias="nextCursor")


def test_one_of_all_its_fields_is_as_if_checked() -> None:
    made = Shown.model_construct(id="a", count=1, next_cursor="b")
    checked = Shown(id="a", count=1, nextCursor="b")
    assert made == checked
    assert made.model_fields_set == checked.model_fields_set
    assert json_response(made).body == json_response(checked).body
    assert made.model_copy(update={"count": 2}) == Shown(id="a", count=2, nextCursor="b")
    assert repr(made) == repr(checked)


def test_one_of_some_fields_has_the_others_defaults() -> None:
    made = Shown.model_construct(id="a", nextCursor="b")  # type: ignore[call-arg]
    assert made == Shown(id="a", nextCursor="b")
    assert made.model_fields_set == {"id", "next_cursor"}
