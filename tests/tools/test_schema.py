"""Schemas from functions, and arguments from what a model wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import ToolFailed
from folkmoot.models.prompt import ToolSchema
from folkmoot.tools.schema import parse_arguments, tool_schema

if TYPE_CHECKING:
    from nowhere import ToolContext  # type: ignore[import-not-found]


class Request(TypedDict):
    file_name: Annotated[str, "Name of the file."]
    offset: NotRequired[Annotated[int, "First line."]]


async def search(
    context: ToolContext,
    query: str,
    num_results: int = 10,
    category: Literal["news", "research paper"] | None = None,
    include_text: bool = False,
    include_domains: list[str] | None = None,
    weight: float = 1.0,
    requests: list[Request] | None = None,
) -> str:
    """Search the web.

    Results come back as JSON.

    Args:
        context: the call's surroundings.
        query: what to look for,
            in a few words: the fewer the better.
        num_results (int): how many results.
        category: the kind of page.
        include_text: whether to return whole pages.
        include_domains: domains to stay within.
        weight: a number.
        requests: files to read.

    Returns:
        Results, which the model is not told about here.
    """
    return query


async def nothing(context: ToolContext) -> str:
    """Do nothing."""
    return ""


SEARCH = tool_schema(search)


def parse(**arguments: Any) -> dict[str, Any]:
    return parse_arguments(SEARCH, json.dumps({"query": "q", **arguments}))


def test_schema_has_the_shape_of_the_recorded_ones() -> None:
    expected = ToolSchema(
        "search",
        "Search the web.\n\nResults come back as JSON.",
        {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": "what to look for, in a few words: the fewer the better.",
                },
                "num_results": {"type": "integer", "description": "how many results."},
                "category": {
                    "type": "string",
                    "enum": ["news", "research paper"],
                    "description": "the kind of page.",
                },
                "include_text": {"type": "boolean", "description": "whether to return whole pages."},
                "include_domains": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "domains to stay within.",
                },
                "weight": {"type": "number", "description": "a number."},
                "requests": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "file_name": {"type": "string", "description": "Name of the file."},
                            "offset": {"type": "integer", "description": "First line."},
                        },
                        "required": ["file_name"],
                    },
                    "description": "files to read.",
                },
            },
            "required": ["query"],
        },
    )
    assert expected == SEARCH


def test_function_with_only_a_context_takes_no_arguments() -> None:
    assert tool_schema(nothing).parameters == {"type": "object", "properties": {}, "required": []}


async def no_description(label: str) -> str:
    """Do."""
    return label


async def no_type(label) -> str:  # type: ignore[no-untyped-def]
    """Do.

    Args:
        label: a label.
    """
    return str(label)


async def odd_type(label: set[str]) -> str:
    """Do.

    Args:
        label: a label.
    """
    return str(label)


async def two_types(label: str | int) -> str:
    """Do.

    Args:
        label: a label.
    """
    return str(label)


async def stranger(label: str) -> str:
    """Do.

    Args:
        label: a label.
        lable: a slip.
    """
    return label


async def many(*labels: str) -> str:
    """Do.

    Args:
        labels: labels.
    """
    return str(labels)


async def silent(label: str) -> str:
    return label


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (no_description, "'label'"),
        (no_type, "no type"),
        (odd_type, "set"),
        (two_types, "str | int"),
        (stranger, "lable"),
        (many, "by name"),
        (silent, "no description"),
    ],
)
def test_a_function_that_makes_no_tool_is_refused(function: Any, fault: str) -> None:
    with pytest.raises(TypeError, match=fault.replace("|", r"\|")):
        tool_schema(function)


@pytest.mark.parametrize(
    ("given_value", "name", "read"),
    [
        ("3", "num_results", 3),
        (" -3 ", "num_results", -3),
        (3.0, "num_results", 3),
        ("true", "include_text", True),
        ("False", "include_text", False),
        ("a.org", "include_domains", ["a.org"]),
        ('["a.org", "b.org"]', "include_domains", ["a.org", "b.org"]),
        (["a.org"], "include_domains", ["a.org"]),
        ([7], "include_domains", ["7"]),
        ("0.5", "weight", 0.5),
        (2, "weight", 2),
        ("News", "category", "news"),
        (12, "query", "12"),
        ([{"file_name": "a", "offset": "2"}], "requests", [{"file_name": "a", "offset": 2}]),
    ],
)
def test_values_are_taken_where_nothing_is_lost(given_value: Any, name: str, read: Any) -> None:
    value = parse(**{name: given_value})[name]
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("given_value", "name", "wanted"),
    [
        ("ten", "num_results", 'num_results must be an integer, not "ten"'),
        (3.5, "num_results", "an integer, not 3.5"),
        (True, "num_results", "an integer, not true"),
        (1e300, "num_results", "an integer"),
        ("", "num_results", "an integer"),
        (1, "include_text", "a boolean, not 1"),
        ("yes", "include_text", "a boolean"),
        (3, "include_domains", "a list of strings, not 3"),
        ([["a"]], "include_domains", "include_domains[0] must be a string"),
        ("nan", "weight", "a number"),
        ("1_0", "weight", "a number"),
        ("sport", "category", "one of 'news', 'research paper', not \"sport\""),
        (["q"], "query", "query must be a string"),
        ([{"offset": 1}], "requests", "requests[0].file_name is missing"),
        ([{"file_name": "a", "of": 1}], "requests", 'no argument "requests[0].of"'),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(given_value: Any, name: str, wanted: str) -> None:
    with pytest.raises(ToolFailed) as failure:
        parse(**{name: given_value})
    assert wanted in failure.value.message


def test_every_fault_is_told_at_once_with_the_arguments_there_are() -> None:
    with pytest.raises(ToolFailed) as failure:
        parse_arguments(SEARCH, '{"num_results": "x", "qeury": 1}')
    assert failure.value.message == (
        'search was not run: query is missing; num_results must be an integer, not "x"; there is no argument '
        '"qeury". Its arguments are: query, num_results (optional), category (optional), '
        "include_text (optional), include_domains (optional), weight (optional), requests (optional)."
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"query": "a" "b"}', "line 1, column 15, near"),
        ('{"query": "a', "not valid JSON: Unterminated string"),
        ('["a"]', "one JSON object, not a list"),
        ("3", "one JSON object, not a number"),
        ('"a"', "one JSON object, not a string"),
        ('{"query": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"query": ' + "9" * 5000 + "}", "not valid JSON"),
        ("", "query is missing"),
        ('{"query": null}', "query is missing"),
    ],
)
def test_text_that_is_no_call_is_refused_with_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ToolFailed, match="Its arguments are: query,") as failure:
        parse_arguments(SEARCH, text)
    assert told in failure.value.message
    assert len(failure.value.message) < 600


@pytest.mark.parametrize("text", ["", "  ", "null", "{}", '"{}"', '{"request_heartbeat": true, "thinking": "hm"}'])
def test_a_call_without_arguments_may_be_written_in_many_ways(text: str) -> None:
    assert parse_arguments(tool_schema(nothing), text) == {}


def test_nulls_and_older_programs_arguments_are_left_out() -> None:
    assert parse(category=None, request_heartbeat=True, thinking="…") == {"query": "q"}


def test_an_argument_named_thinking_is_kept_where_the_tool_has_one() -> None:
    schema = ToolSchema("t", "d", {"type": "object", "properties": {"thinking": {"type": "string"}}, "required": []})
    assert parse_arguments(schema, '{"thinking": "a"}') == {"thinking": "a"}


def test_parts_of_a_schema_that_are_not_known_let_any_value_through() -> None:
    schema = ToolSchema("t", "d", {"type": "object", "properties": {"a": {"anyOf": [{}]}, "b": {"type": "object"}}})
    assert parse_arguments(schema, '{"a": [1], "b": {"c": 2}}') == {"a": [1], "b": {"c": 2}}


def test_raw_line_breaks_and_packed_json_are_read() -> None:
    assert parse_arguments(SEARCH, '{"query": "a\nb"}') == {"query": "a\nb"}
    assert parse_arguments(SEARCH, json.dumps('{"query": "a"}')) == {"query": "a"}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert parse_arguments(SEARCH, r'{"query": "a\ud800b \ud83d\ude00"}') == {"query": "a\ufffdb 😀"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*SEARCH.parameters["properties"], "thinking"]) | st.text(max_size=5)
PYTHON_TYPES: dict[str, Any] = {
    "query": str,
    "num_results": int,
    "category": str,
    "include_text": bool,
    "include_domains": list,
    "weight": (int, float),
    "requests": list,
}


def check(text: str) -> None:
    try:
        arguments = parse_arguments(SEARCH, text)
    except ToolFailed as failure:
        failure.message.encode()
        return
    json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    assert isinstance(arguments["query"], str)
    for name, value in arguments.items():
        assert isinstance(value, PYTHON_TYPES[name])
        assert isinstance(value, bool) == (PYTHON_TYPES[name] is bool)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    check(text)


@given(st.dictionaries(NAMES, JSON_VALUES, max_size=6), st.text())
def test_any_json_object_is_read_or_refused(values: dict[str, Any], query: str) -> None:
    check(json.dumps({"query": query, **values}))


STORABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
"""Text without what no database keeps, which is replaced."""


@given(
    st.fixed_dictionaries(
        {"query": STORABLE},
        optional={
            "num_results": st.integers(),
            "category": st.sampled_from(["news", "research paper"]),
            "include_text": st.booleans(),
            "include_domains": st.lists(STORABLE),
            "weight": st.floats(allow_nan=False, allow_infinity=False),
        },
    )
)
def test_right_arguments_come_out_as_they_went_in(arguments: dict[str, Any]) -> None:
    assert parse_arguments(SEARCH, json.dumps(arguments)) == arguments
