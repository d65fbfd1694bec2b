"""The schema that is read from TypeScript says what its types say, and what cannot be read is told with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import BadRequest
from folkmoot.tools.custom.typescript import describe_tool, read_tool

HEAD = """
import { z } from "zod";
const enum Color { Red = "red", Blue = 'blue' }
enum Level { Low, High = 5, Higher }
interface Base { /** whose it is */ id: number; "odd name"?: string }
export interface Step extends Base { name: string; color: Color; next: Leaf | null }
type Leaf = { readonly size: number };
type Mode = "fast" | "it's slow" | -1;
"""
STRING, NUMBER, BOOLEAN = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
LEAF = {"type": "object", "properties": {"size": NUMBER}, "required": ["size"]}
COLOR = {"type": "string", "enum": ["red", "blue"]}
STEP = {
    "type": "object",
    "properties": {
        "id": {**NUMBER, "description": "whose it is"},
        "odd name": STRING,
        "name": STRING,
        "color": COLOR,
        "next": {"anyOf": [LEAF, {"type": "null"}]},
    },
    "required": ["id", "name", "color", "next"],
}
PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("string", STRING),
    ("number", NUMBER),
    ("boolean", BOOLEAN),
    ("Color", COLOR),
    ("Level", {"type": "integer", "enum": [0, 5, 6]}),
    ("Mode", {"enum": ["fast", "it's slow", -1]}),
    ("Step", STEP),
    ("Record<string, unknown>", {"type": "object"}),
    ("Record<'a' | 'b', number>", {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]}),
    ("Leaf & { more?: string }", {**LEAF, "properties": {"size": NUMBER, "more": STRING}}),
    ("Partial<Leaf>", {**LEAF, "required": []}),
    ("{ [name: string]: number }", {"type": "object", "additionalProperties": NUMBER}),
]
types = st.recursive(
    st.sampled_from(PLAIN),
    lambda inner: st.one_of(
        inner.map(lambda each: (f"({each[0]})[]", {"type": "array", "items": each[1]})),
        inner.map(lambda each: (f"Array<{each[0]}>", {"type": "array", "items": each[1]})),
        inner.map(lambda each: (f"readonly ({each[0]})[]", {"type": "array", "items": each[1]})),
        inner.map(lambda each: (f"Record<string, {each[0]}>", {"type": "object", "additionalProperties": each[1]})),
        inner.map(
            lambda each: (
                f"{{ it: {each[0]}; perhaps?: {each[0]} }}",
                {"type": "object", "properties": {"it": each[1], "perhaps": each[1]}, "required": ["it"]},
            )
        ),
        st.tuples(inner, inner).map(
            lambda pair: (
                f"[{pair[0][0]}, {pair[1][0]}]",
                {
                    "type": "array",
                    "items": pair[0][1] if pair[0][1] == pair[1][1] else {"anyOf": [pair[0][1], pair[1][1]]},
                    "minItems": 2,
                    "maxItems": 2,
                },
            )
        ),
    ),
    max_leaves=5,
)


@given(st.lists(st.tuples(types, st.sampled_from(["", "?", "= undefined", "| undefined"])), max_size=4))
@settings(max_examples=60)
def test_random_signatures_are_read_as_they_are_written(parameters: list[Any]) -> None:
    given_types = [each for each, _ in parameters]
    written = ", ".join(
        f"p{place}{'?' if how == '?' else ''}: {'(' + kind + ')' if '|' in how else kind} {how if how != '?' else ''}"
        for place, ((kind, _), how) in enumerate(parameters)
    )
    read = read_tool(f"{HEAD}\nexport async function tool({written}): Promise<void> {{}}")
    assert read.parameters["properties"] == {f"p{place}": schema for place, (_, schema) in enumerate(given_types)}
    assert read.parameters["required"] == [f"p{place}" for place, (_, how) in enumerate(parameters) if not how]


def test_a_comment_describes_the_tool_and_its_parameters() -> None:
    read = read_tool("""
/**
 * Look up what something costs.
 * In the shop.
 *
 * @param {string} item - What to look up,
 *   whatever it is.
 * @param [amount=1] How many.
 * @returns the price
 */
export const priceOf = async (item: string, amount = 1): Promise<number> => amount;

// no description
function helper(x: string) { return x; }
""")
    assert read.to_json_schema() == {
        "name": "priceOf",
        "description": "Look up what something costs.\nIn the shop.",
        "parameters": {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "What to look up, whatever it is."},
                "amount": {"type": "number", "description": "How many."},
            },
            "required": ["item"],
        },
    }


def test_an_object_that_is_taken_apart_gives_the_parameters() -> None:
    source = "/** @param given.a The a. */\nexport function f({ a, b = 2 }: { a: string; b: number }) {}"
    assert read_tool(source).parameters == {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "The a."}, "b": NUMBER},
        "required": ["a"],
    }


def test_the_named_function_counts_or_the_last_that_is_exported() -> None:
    source = "export function first() {}\nexport default function second() {}\nfunction third() {}"
    assert [describe_tool(source, name)[0] for name in ("first", "third", None, "none")] == [
        "first", "third", "second", "second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("", None, "it is empty"),
        ("const x = 1;", None, "it declares no function"),
        ("\nexport function f(x: string) {\n  return (;\n}", 3, "line 3: it cannot be read as TypeScript"),
        ("\n\nexport function f(when: Date) {}", 3, "parameter 'when' of f: the type Date"),
        ("export function f(x) {}", 1, "parameter 'x' of f has no type"),
        ("const f = x => x;", 1, "parameter 'x' of f has no type"),
        ("function f(...rest: string[]) {}", 1, "'...rest' of f cannot be given by its name"),
        ("function f({ a }: { a: string }, b: string) {}", 1, "cannot be given by its name"),
        ("function f({ a }: Record<string, string>) {}", 1, "has to be an object with named members"),
        ("type A = { a: A };\nfunction f(a: A) {}", 1, "A is made of itself"),
        ("interface Box<T> { it: T }\nfunction f(a: Box) {}", 1, "the type Box"),
        ("function f<T>(a: T) {}", 1, "the type T"),
        ("enum E { A = g() }\nfunction f(a: E) {}", 1, "a member of an enumeration"),
        (f"function f(a: {'(' * 60}string{')' * 60}) {{}}", 1, "nested more than 20 deep"),
    ],
)
def test_what_cannot_be_read_names_the_place_and_the_remedy(source: str, line: int | None, says: str) -> None:
    with pytest.raises(BadRequest) as raised:
        read_tool(source)
    assert says in raised.value.message
    assert raised.value.extra.get("line") == line


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_tool(text)
        read_tool(f"export function f(a: {text}) {{}}")
    except BadRequest as error:
        assert error.message.startswith("source_code: ")
