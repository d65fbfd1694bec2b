"""A server's tools as it lists them: what is taken, and why the rest is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mcp_types import CallToolResult, Tool, ToolAnnotations

from folkmoot.tools.mcp.listing import LARGEST_SCHEMA, LONGEST_DESCRIPTION, read_listing
from folkmoot.tools.mcp.results import EMPTY, tool_result
from support.plain_tool_server import deep


def tool(name: str = "t", schema: Any = None, **fields: Any) -> Tool:
    return Tool(name=name, input_schema=schema or {"type": "object", "properties": {}}, **fields)


def test_a_sound_schema_is_taken_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "title": "A"},
            "b": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/B"}}, {"type": "null"}], "default": None},
        },
        "required": ["a", "b"],
        "$defs": {"B": {"type": "string", "enum": ["x", "y"]}},
    }
    (read,) = read_listing([tool(schema=schema)])
    assert (read.parameters, read.status, read.is_sound) == (schema, "STRICT_COMPLIANT", True)
    (loose,) = read_listing([tool(schema={**schema, "required": ["a"]})])
    assert (loose.status, loose.is_sound) == ("NON_STRICT_ONLY", True)
    assert "b" in loose.json_schema["mcp:SCHEMA_WARNINGS"][0]


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        pytest.param(
            {
                "anyOf": [
                    {"properties": {"id": TEXT, "text": TEXT}, "required": ["id", "text"]},
                    {"properties": {"id": TEXT, "url": TEXT}, "required": ["id", "url"]},
                ]
            },
            {"properties": {"id": TEXT, "text": TEXT, "url": TEXT}, "required": ["id"]},
            id="alternatives",
        ),
        pytest.param(
            {"properties": {"a": TEXT}, "oneOf": [{"properties": {"a": NUMBER}}, {"properties": {"a": TEXT}}]},
            {"properties": {"a": {"anyOf": [TEXT, NUMBER, TEXT]}}},
            id="one-that-differs",
        ),
        pytest.param(
            {"$ref": "#/definitions/In", "definitions": {"In": {"properties": {"a": TEXT}, "required": ["a"]}}},
            {
                "properties": {"a": TEXT},
                "required": ["a"],
                "$defs": {"In": {"properties": {"a": TEXT}, "required": ["a"]}},
            },
            id="by-reference",
        ),
        pytest.param(
            {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}}]},
            {"properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
            id="in-parts",
        ),
        pytest.param(
            {"properties": {"from": TEXT, "to": {"$ref": "#/properties/from"}}},
            {"properties": {"from": TEXT, "to": {"$ref": "#/$defs/from"}}, "$defs": {"from": TEXT}},
            id="as-another",
        ),
        pytest.param(
            {"properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}},
            {
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/root"}}},
                "$defs": {
                    "root": {
                        "type": "object",
                        "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/root"}}},
                    }
                },
            },
            id="without-end",
        ),
        pytest.param(
            {"properties": {"a": {"type": "array"}, "b": {"type": ["array", "null"], "default": {"type": "array"}}}},
            {
                "properties": {
                    "a": {"type": "array", "items": {}},
                    "b": {"type": ["array", "null"], "default": {"type": "array"}, "items": {}},
                }
            },
            id="lists-of-anything",
        ),
        pytest.param(
            {"properties": {"a": {"type": "array", "items": [TEXT, NUMBER]}, "b": {"prefixItems": [TEXT]}}},
            {"properties": {"a": {"type": "array", "items": {"anyOf": [TEXT, NUMBER]}}, "b": {"items": TEXT}}},
            id="pairs",
        ),
        pytest.param(
            {"properties": {"a": {**NUMBER, "minimum": 0, "exclusiveMinimum": True, "required": True}}},
            {"properties": {"a": {**NUMBER, "exclusiveMinimum": 0}}},
            id="older-drafts",
        ),
    ],
)
def test_a_schema_is_put_into_the_form_that_every_provider_takes(listed: Any, told: Any) -> None:
    (read,) = read_listing([tool(schema={"type": "object", **listed})])
    assert (read.is_sound, read.parameters) == (True, {"type": "object", **told})


def test_alternatives_that_no_schema_can_say_are_said_in_words() -> None:
    schema = {
        "type": "object",
        "properties": {"route": {"type": "string"}, "file": {"type": "string"}},
        "anyOf": [{"required": ["route"]}, {"required": ["file"]}],
    }
    (read,) = read_listing([tool(schema=schema, description="Look.")])
    assert read.description == "Look.\n\nOne of these has to be given: route; or file."


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "banana"},
        {"type": "array", "items": {}},
        {"type": "object", "properties": {"a": [1]}},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"enum": "x"}}},
        {"type": "object", "properties": {"a": {"type": ["string", 7]}}},
        {"type": "object", "properties": {}, "required": "a"},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/x.json"}}},
        {"type": "object", "properties": {"a": {"anyOf": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}},
        {"type": "object", "properties": {"a": {"$ref": "#anchor"}}},
        deep(40),
        deep(120),
        {"type": "object", "properties": {"a": {"description": "x" * LARGEST_SCHEMA}}},
    ],
)
def test_a_schema_that_lies_is_not_taken_and_the_listing_says_why(schema: Any) -> None:
    lying, sound = read_listing([tool("lies", schema), tool("sound")])
    assert (lying.is_sound, lying.status) == (False, "INVALID")
    assert lying.reasons
    assert sound.is_sound


def test_what_every_reader_of_schemas_can_do_without_is_left_out() -> None:
    schema = {"$schema": "x", "$id": "y", "type": "object", "properties": {"a": True, "b\0": {"description": "\ud800"}}}
    (read,) = read_listing([tool(schema=schema)])
    assert read.parameters == {"type": "object", "properties": {"a": {}, "b\ufffd": {"description": "\ufffd"}}}


def test_a_long_description_is_cut() -> None:
    (read,) = read_listing([tool(description="x" * 100_000)])
    assert read.description == "x" * LONGEST_DESCRIPTION + "…"


ANSWERED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}, "(audio, audio/wav, 3 bytes)"),
    ({"type": "resource_link", "name": "a", "uri": "file:///a"}, "(a: file:///a)"),
    (
        {"type": "resource_link", "name": "a", "title": "An A", "description": "old", "uri": "file:///a"},
        "(An A: file:///a: old)",
    ),
    ({"type": "resource", "resource": {"uri": "file:///a", "text": "words"}}, "file:///a\nwords"),
    ({"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA"}}, "(file:///a: data, 3 bytes)"),
    (
        {"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA", "mimeType": "application/zip"}},
        "(file:///a: application/zip, 3 bytes)",
    ),
    ({"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA", "mimeType": "image/png"}}, "(picture 1)"),
)


@pytest.mark.parametrize(("part", "words"), ANSWERED)
def test_whatever_a_server_answers_with_is_told_in_words(part: dict[str, Any], words: str) -> None:
    told = tool_result(CallToolResult.model_validate({"content": [part]}))
    assert (told.text, bool(told.pictures)) == (words, words == "(picture 1)")


@pytest.mark.parametrize(
    ("texts", "structured", "told"),
    [
        ((), None, EMPTY),
        (("1", "2"), {"result": [1, 2]}, "1\n2"),
        (("1", "2"), {"result": [1, 3]}, '1\n2\n{"result": [1, 3]}'),
        (("[" * 50_000,), {"a": 1}, "[" * 50_000 + '\n{"a": 1}'),
    ],
)
def test_structured_content_is_told_unless_the_texts_say_it(texts: Sequence[str], structured: Any, told: str) -> None:
    content = [{"type": "text", "text": text} for text in texts]
    answer = CallToolResult.model_validate({"content": content, "structuredContent": structured})
    assert tool_result(answer).text == told


def test_names_become_what_every_provider_takes_and_stay_apart() -> None:
    names = ["files/read.v2", "files.read/v2", "x" * 100, "x" * 101, "ok", "ok"]
    read = read_listing([tool(name) for name in names])
    assert [each.remote_name for each in read] == names[:-1]
    assert [each.name for each in read] == ["files_read_v2", "files_read_v2_2", "x" * 64, "x" * 60 + "_2", "ok"]


def test_only_what_reads_may_run_at_the_same_time() -> None:
    reads, writes = read_listing(
        [tool("a", annotations=ToolAnnotations(read_only_hint=True)), tool("b", annotations=ToolAnnotations())]
    )
    assert (reads.only_reads, writes.only_reads) == (True, False)
