"""Schemas of tools, put into the form that every provider takes, with as much of their meaning as that can say.

Providers refuse a whole request for one tool whose schema is none for them: with alternatives at its top, with arrays
of anything, with references to anywhere. The server itself still checks what a call gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFINITIONS = "$defs"
_ALTERNATIVES = ("anyOf", "oneOf")
_NOT_AT_THE_TOP = frozenset({*_ALTERNATIVES, "allOf", "not", "enum", "const", "if", "then", "else", "$ref"})
_ALL_NAMES = ("$defs", "definitions")
_VALUES = frozenset({"default", "enum", "const", "examples"})
"""Keywords whose values are no schemas."""


class NotPortable(ValueError):
    """A schema that cannot be put into that form; the message says why."""


@dataclass
class Portable:
    """A schema of all arguments, with nothing but properties at its top."""

    schema: dict[str, Any]
    needs: list[list[str]] = field(default_factory=list)
    """The alternatives among what has to be given, which the schema cannot say."""


def portable(schema: Mapping[str, Any], largest: int) -> Portable:
    """Put a schema into that form.

    Args:
        schema: as a server lists it.
        largest: characters that it may have as JSON afterwards.

    Raises:
        NotPortable: it refers to what is not there, is too large, or is of no object.
    """
    references = _References(schema, largest)
    whole = references.rewritten({name: value for name, value in schema.items() if name not in _ALL_NAMES})
    top = _Top(references.found)
    top.add(whole, required=True)
    made = {name: value for name, value in whole.items() if name not in _NOT_AT_THE_TOP}
    made |= {"type": whole.get("type", "object"), "properties": top.properties}
    if top.required:
        made["required"] = top.required
    if references.found:
        made[DEFINITIONS] = references.found
    return Portable(made, top.needs)


class _References:
    """Rewrites schemas so that every reference is to a definition at the top; those are made where there are none."""

    def __init__(self, root: Mapping[str, Any], largest: int) -> None:
        self._root = root
        self._left = largest
        self._names: dict[str, str] = {}
        self.found: dict[str, Any] = {}

    def rewritten(self, value: Any) -> Any:
        """Return a schema, or a part of one, with its references rewritten and its arrays described."""
        if isinstance(value, list):
            return [self.rewritten(each) for each in value]
        if not isinstance(value, dict):
            return value
        made = {name: each if name in _VALUES else self.rewritten(each) for name, each in value.items()}
        if isinstance(target := made.get("$ref"), str) and target.startswith("#"):
            made["$ref"] = f"#/{DEFINITIONS}/{self._named(target)}"
        return _described(made)

    def _named(self, target: str) -> str:
        """Return the name of the definition that a reference leads to, made when it is first asked for."""
        if target not in self._names:
            known = [part for part in target.split("/") if part.isidentifier() and part not in _ALL_NAMES]
            base = known[-1][:40] if known else "root"
            name = next(each for each in (base, *(f"{base}_{n}" for n in range(2, 10_000))) if each not in self.found)
            self._names[target] = name
            there = self._at(target)
            self._left -= len(json.dumps(there))
            if self._left < 0:
                raise NotPortable("its schema is too large, with what it refers to")
            self.found[name] = {}  # taken, for what refers to itself
            self.found[name] = self.rewritten(there)
        return self._names[target]

    def _at(self, target: str) -> Any:
        there: Any = self._root
        for part in target.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            is_place = isinstance(there, list) and part.isdigit() and int(part) < len(there)
            if not is_place and not (isinstance(there, dict) and part in there):
                raise NotPortable(f"it refers to {target}, which is not there")
            there = there[int(part)] if isinstance(there, list) else there[part]
        if target == "#":
            return {name: value for name, value in there.items() if name not in _ALL_NAMES}
        if not isinstance(there, dict) or not target.startswith("#/"):
            raise NotPortable(f"it refers to {target}, which is no schema")
        return there


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what every array needs, and without what older drafts said in another way."""
    kinds = schema.get("type")
    first = schema.get("items") if isinstance(schema.get("items"), list) else schema.get("prefixItems")
    if isinstance(first, list):  # items that are told by their place
        others = {name: value for name, value in schema.items() if name not in ("prefixItems", "additionalItems")}
        schema = {**others, "items": first[0] if len(first) == 1 else {"anyOf": first} if first else {}}
    elif "items" not in schema and "array" in (kinds if isinstance(kinds, list) else [kinds]):
        schema = {**schema, "items": {}}
    if isinstance(schema.get("required"), bool) and "properties" not in schema:
        schema = {name: value for name, value in schema.items() if name != "required"}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
    return schema


class _Top:
    """Gathers the properties of all that may be given at the top."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._seen: set[str] = set()
        self.properties: Any = {}
        self.required: list[str] = []
        self.needs: list[list[str]] = []

    def add(self, schema: Any, *, required: bool) -> None:
        """Take in what a schema says, and what those say that it is made of; `required` when all of it holds.

        Raises:
            NotPortable: it says that something else than an object is given.
        """
        if not isinstance(schema, dict):
            return
        if required and schema.get("type", "object") != "object":
            raise NotPortable("its arguments are no object")
        if isinstance(target := schema.get("$ref"), str) and target not in self._seen:
            self._seen.add(target)
            self.add(self._definitions.get(target.rpartition("/")[2]), required=required)
        properties = schema.get("properties", {})
        if not isinstance(properties, dict) or not isinstance(self.properties, dict):
            self.properties = properties  # for who reads schemas to say what is wrong
            return
        for name, value in properties.items():
            known = self.properties.get(name, value)
            self.properties[name] = known if known == value else {"anyOf": [*_options(known), value]}
        if required:
            names = _texts(schema.get("required"))
            self.required += [name for name in names if name not in self.required]
        for each in _list(schema.get("allOf")):
            self.add(each, required=required)
        for keyword in _ALTERNATIVES:
            options = _list(schema.get(keyword))
            for each in options:
                self.add(each, required=False)
            self._note(options if required else ())

    def _note(self, options: Sequence[Any]) -> None:
        """Keep what one of the alternatives needs; what all of them need has to be given."""
        names = [_texts(each.get("required")) if isinstance(each, dict) else [] for each in options]
        if not names:
            return
        common = [name for name in names[0] if all(name in each for each in names)]
        self.required += [name for name in common if name not in self.required]
        rest = [[name for name in each if name not in self.required] for each in names]
        if all(rest):
            self.needs += rest


def _options(schema: Any) -> list[Any]:
    return schema["anyOf"] if isinstance(schema, dict) and schema.keys() == {"anyOf"} else [schema]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]
