"""The schema that is read from a source is the one that pydantic makes of the living function."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model

from folkmoot.errors import BadRequest
from folkmoot.tools.custom.given import check_json_schema, parameters_of
from folkmoot.tools.custom.reading import read_tool

HEAD = '''
import datetime as dt
import decimal
import enum
import typing as t
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, IntEnum, auto
from pathlib import Path
from typing import Annotated, Any, ClassVar, Dict, List, Literal, Optional, Set, Tuple, Union
import pydantic
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

Mode = Literal["fast", "slow"]

class Color(str, Enum):
    """A colour."""
    RED = "red"
    BLUE = "blue"

class Level(IntEnum):
    LOW = auto()
    HIGH = auto()

class Base(BaseModel):
    """What they share."""
    kind: ClassVar[str] = "x"
    id: int

class Step(Base):
    name: str = Field(..., description="its name", min_length=1, max_length=9)
    seconds: float = Field(1.0, ge=0, lt=10)
    tags: List[str] = Field(default_factory=list, max_length=3)
    other: Optional["Leaf"] = None

class Leaf(BaseModel):
    color: Color
    when: dt.datetime
    short: str = Field(alias="s")

@dataclass
class Point:
    x: float
    y: float = 0.0
    labels: Dict[str, int] = field(default_factory=dict)

class Options(TypedDict, total=False):
    depth: int
    mode: Mode

class Row(TypedDict):
    key: str
    value: NotRequired[Any]
'''

PLAIN = [
    "str", "int", "float", "bool", "bytes", "Any", "dict", "list", "dt.datetime", "date", "dt.time", "dt.timedelta",
    "uuid.UUID", "Path", "Color", "Level", "Step", "Leaf", "Point", "Options", "Row", "Mode", "Literal[1, 2]",
    "Literal['a', 3, None]", "Literal[Color.RED]", "Annotated[int, Field(gt=1, description='more than one')]",
    "'Step'", "object",
]  # fmt: skip

TYPES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(PLAIN),
    lambda inner: st.one_of(
        st.builds("List[{}]".format, inner),
        st.builds("list[{}]".format, inner),
        st.builds("Sequence[{}]".format, inner),
        st.builds("t.Set[{}]".format, st.sampled_from(["int", "str"])),
        st.builds("Dict[str, {}]".format, inner),
        st.builds("Mapping[str, {}]".format, inner),
        st.builds("Optional[{}]".format, inner),
        st.builds("Union[{}, {}]".format, inner, inner),
        st.builds("Tuple[{}, {}]".format, inner, inner),
        st.builds("tuple[{}, ...]".format, inner),
    ),
    max_leaves=4,
)


@cache
def head() -> dict[str, Any]:
    """Return what the source's head defines when it is run, as a module that pydantic finds."""
    module = sys.modules["living"] = ModuleType("living")
    exec(compile(HEAD, "living", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def living(function: str) -> Any:
    """Return the function `tool` of a source that is run behind the head."""
    names = dict(head())
    exec(compile(function, "living", "exec", dont_inherit=True), names)
    return names["tool"]


def of_pydantic(function: Any, defaults: Mapping[str, bool]) -> dict[str, Any]:
    """Return the parameters' schema as pydantic tells it, in the form that is read: written out, without titles."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {name: (hint, None if defaults[name] else ...) for name, hint in hints.items()}
    schema = create_model("Arguments", **fields).model_json_schema()
    written = parameters_of({**schema, "required": schema.get("required", [])})
    return {name: plain(each, optional=defaults[name]) for name, each in written["properties"].items()}


def plain(schema: Any, *, optional: bool = False) -> Any:
    """Return a schema without what only one of both says: defaults, `const`, `additionalProperties: true`, order.

    Of a tuple we say what its items are, and not which is where, which providers do not take.
    """
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    left = {
        name: {key: plain(each) for key, each in value.items()} if name == "properties" else plain(value)
        for name, value in schema.items()
        if name not in ("default", "title") and (name, value) != ("additionalProperties", True)
    }
    if left.get("additionalProperties") == {}:
        del left["additionalProperties"]
    if "prefixItems" in left:
        left["items"] = plain({"anyOf": left.pop("prefixItems")})
    if "const" in left:
        left["enum"] = [left.pop("const")]
    if left.get("type") == "object" and "properties" in left:
        left.setdefault("required", [])
    choices = left.pop("anyOf", None)
    if choices is not None:
        flat: list[Any] = []
        for choice in choices:
            flat += choice["anyOf"] if isinstance(choice, dict) and list(choice) == ["anyOf"] else [choice]
        unique = {
            json.dumps(each, sort_keys=True): each for each in flat if not (optional and each == {"type": "null"})
        }
        if "{}" in unique:
            return left
        alone = [unique[key] for key in sorted(unique)]
        return {**alone[0], **left} if len(alone) == 1 else {**left, "anyOf": alone}
    return left


@settings(max_examples=150)
@given(hints=st.lists(st.tuples(TYPES, st.booleans()), min_size=1, max_size=4))
def test_random_signatures_are_read_as_pydantic_reads_them(hints: list[tuple[str, bool]]) -> None:
    ordered = sorted(hints, key=lambda each: each[1])
    parameters = [f"a{place}: {hint}{' = None' if default else ''}" for place, (hint, default) in enumerate(ordered)]
    function = f'def tool({", ".join(parameters)}):\n    """Do something."""\n'
    defaults = {f"a{place}": default for place, (_, default) in enumerate(ordered)}
    read = read_tool(f"{HEAD}\n{function}")
    wanted = of_pydantic(living(function), defaults)
    told = {name: plain(each, optional=defaults[name]) for name, each in read.parameters["properties"].items()}
    assert told == wanted
    assert read.parameters["required"] == [name for name, default in defaults.items() if not default]


GOOGLE = """Look something up.

    In a few words.

    Args:
        what (str): The thing.
            It may be long.
        often: How often.

    Returns:
        str: it
    """
NUMPY = """Look something up.

    In a few words.

    Parameters
    ----------
    what : str
        The thing.
        It may be long.
    often : int, optional
        How often.

    Returns
    -------
    str
        it
    """
REST = """Look something up.

    In a few words.

    :param what: The thing.
        It may be long.
    :param int often: How often.
    :returns: it
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_of_every_style_describe_the_tool_and_its_parameters(docstring: str) -> None:
    read = read_tool(f'def look(what: str, often: int = 1):\n    """{docstring}"""\n')
    assert read.description == "Look something up.\n\nIn a few words."
    described = {name: each["description"].split() for name, each in read.parameters["properties"].items()}
    assert described == {"what": ["The", "thing.", "It", "may", "be", "long."], "often": ["How", "often."]}


def test_a_parameter_need_not_be_described() -> None:
    read = read_tool('def f(a: int, b: str = "x", c=True):\n    """Do."""\n')
    assert read.parameters["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "string"},
        "c": {"type": "boolean"},
    }


WIDE = "from pydantic import BaseModel\n" + "".join(
    f"class W{number}(BaseModel):\n"
    + "".join(f"    f{place}: {f'W{number - 1}' if number else 'int'}\n" for place in range(9))
    for number in range(6)
)
"""Classes of which each has nine of the one before: half a million, written out."""


@pytest.mark.parametrize(
    ("hint", "head", "says"),
    [
        ("Callable[[int], str]", "from typing import Callable", "parameter 'a' of f: the type Callable"),
        ("Missing", "", "Missing cannot be described"),
        ("C", "class C:\n    x: int", "class C is no pydantic model"),
        ("Tree", "from pydantic import BaseModel\nclass Tree(BaseModel):\n    left: 'Tree'", "Tree is made of itself"),
        ("'int ]'", "", "is no Python"),
        ("Literal[open]", "", "open is no text, number"),
        ("E", "import enum\nclass E(enum.Enum):\n    pass", "has no members"),
        ("list[" * 30 + "int" + "]" * 30, "", "nested more than"),
        ("W5", WIDE, "written out"),
    ],
)  # fmt: skip
def test_what_cannot_be_described_names_the_parameter(hint: str, head: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_tool(f'{head}\ndef f(a: {hint}):\n    """Do."""\n')
    assert says in caught.value.message
    assert "parameter 'a' of f" in caught.value.message
    assert caught.value.extra["line"] >= 1


def test_names_are_followed_through_imports_and_assignments() -> None:
    source = (
        "import typing\nfrom typing import NewType as N, List as L\nimport pydantic as p\n"
        "Id = N('Id', int)\nIds = L[Id]\nclass M(p.BaseModel):\n    ids: Ids\n"
        "if True:\n    def f(m: M, n: typing.Optional['Ids'] = None):\n        'Do.'\n"
    )
    properties = read_tool(source).parameters["properties"]
    ids = {"type": "array", "items": {"type": "integer"}}
    assert properties == {"m": {"type": "object", "properties": {"ids": ids}, "required": ["ids"]}, "n": ids}


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "größe"])
def test_a_given_schema_has_a_name_that_providers_take(name: str) -> None:
    with pytest.raises(BadRequest, match="name"):
        check_json_schema({"name": name, "parameters": {"type": "object", "properties": {}}})
