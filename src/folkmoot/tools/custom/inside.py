"""What stands between the server and a Python tool's function, inside the sandbox: its text goes with every call.

The function is given its arguments as its hints ask for, and the agent where it asks for it. The names of `typing` and
a `client` of this server are there without being imported. What the function returns goes back together with the
memory blocks that it changed on `agent_state`.
"""

from __future__ import annotations

import base64
import os
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from folkmoot.sandbox.values import convert_arguments, plain

MOST_RETURNED = 1_000_000
"""Characters of a text that go back; the server is told how many there were."""


class _Client:
    """The official client of this server, made when it is first used."""

    def __getattr__(self, name: str) -> Any:
        from letta_client import Letta

        made = Letta(api_key=os.environ["LETTA_API_KEY"], base_url=os.environ["LETTA_BASE_URL"])
        self.__dict__.update(_made=made)
        return getattr(made, name)


SCOPE: dict[str, Any] = {name: getattr(typing, name) for name in typing.__all__}
SCOPE["client"] = _Client() if "LETTA_API_KEY" in os.environ else None

_shown: list[tuple[AgentState, dict[str, str]]] = []
"""The agent that the function was given, and the texts of its blocks as they were."""


class Record:
    """An object of JSON, whose members are attributes and items."""

    if typing.TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, **members: Any) -> None:
        self.__dict__.update({name: _recorded(member) for name, member in members.items()})

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """Return a member, or something else where there is none."""
        return self.__dict__.get(name, otherwise)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Return it as a dictionary."""
        return {name: plain(member) for name, member in vars(self).items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __str__(self) -> str:
        return " ".join(f"{name}={member!r}" for name, member in vars(self).items())


def _recorded(value: Any) -> Any:
    if isinstance(value, list):
        return [_recorded(part) for part in value]
    return Record(**value) if isinstance(value, dict) else value


class Memory(Record):
    """The agent's memory blocks, as they were when the call began."""

    def get_block(self, label: str) -> Record:
        """Return a block; what its `value` becomes is written to the agent's memory behind the call."""
        for block in self.blocks:
            if block.label == label:
                return typing.cast("Record", block)
        raise KeyError(f"There is no block {label!r}; there are {', '.join(self.list_block_labels()) or 'none'}.")

    def get_blocks(self) -> list[Record]:
        """Return all blocks."""
        return list(self.blocks)

    def list_block_labels(self) -> list[str]:
        """Return the blocks' labels."""
        return [block.label for block in self.blocks]

    def update_block_value(self, label: str, value: str) -> None:
        """Give a block another text."""
        if not isinstance(value, str):
            raise TypeError("A block's value has to be a text.")
        self.get_block(label).value = value


class AgentState(Record):
    """The agent that calls the tool."""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        self.memory = Memory(**members["memory"])


def _texts(blocks: list[Any]) -> dict[str, str]:
    return {block.label: str(block.value) for block in blocks}


def before(function: Callable[..., Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the function is called with.

    Args:
        function: the tool's.
        asked: the call's `arguments`; `agent` and `agent_id`, each None where there is none; `schemas`, those of
            arguments that were described apart from the source.
    """
    arguments = convert_arguments(function, asked["arguments"])
    for name, schema in asked["schemas"].items():
        if name in arguments and _holds_objects(schema):
            arguments[name] = _recorded(arguments[name])
    wanted = _parameters(function)
    if "agent_state" in wanted and "agent_state" not in arguments:
        arguments["agent_state"] = _show(asked["agent"])
    if "agent_id" in wanted and "agent_id" not in arguments and asked["agent_id"]:
        arguments["agent_id"] = asked["agent_id"]
    return arguments


def _show(agent: Mapping[str, Any] | None) -> AgentState | None:
    if agent is None:
        return None
    state = AgentState(**agent)
    _shown.append((state, _texts(state.memory.blocks)))
    return state


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _holds_objects(schema: Any) -> bool:
    """Tell whether a schema is of objects, or of lists of them."""
    if isinstance(schema, list):
        return any(map(_holds_objects, schema))
    if not isinstance(schema, dict):
        return False
    return "properties" in schema or any(_holds_objects(schema.get(name)) for name in ("items", "anyOf", "allOf"))


def _drawn(value: Any) -> Any:
    """Return what shows itself as a picture, as Pillow's do and notebooks ask, as a part of content."""
    if _draws(value):
        data = base64.b64encode(value._repr_png_()).decode()
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    if isinstance(value, list | tuple) and any(map(_draws, value)):
        return [_drawn(part) if _draws(part) else {"type": "text", "text": str(plain(part))} for part in value]
    return value


def _draws(value: Any) -> bool:
    return callable(getattr(type(value), "_repr_png_", None))


def after(value: Any) -> dict[str, Any]:
    """Return what goes back: the value, how long a text it was, and the texts of the blocks that were changed."""
    returned = plain(_drawn(value))
    length = len(returned) if isinstance(returned, str) else 0
    if length > MOST_RETURNED:
        returned = returned[:MOST_RETURNED]
    changed: dict[str, str] = {}
    for state, texts in _shown:
        now = _texts(state.memory.blocks)
        changed |= {label: text for label, text in now.items() if text != texts.get(label)}
    return {"value": returned, "length": length, "blocks": changed}
