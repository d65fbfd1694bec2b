"""Arguments that came as JSON, made into what a function's hints ask for; and what it returns, made into JSON.

Runs beside the code, inside the walls, on the standard library alone.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

DEEPEST = 100

LONGEST_QUESTION = 1_000_000
"""Bytes of what code may ask the server at once; whoever sends more is not answered any more."""


def convert_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's arguments, each as its hint asks for; one whose hint cannot be told stays as it came.

    Raises:
        TypeError: a value does not fit its hint.
    """
    hints = {name: hint for name, hint in _hints(function).items() if name in arguments}
    return {name: _argument(name, hints[name], value) if name in hints else value for name, value in arguments.items()}


def _argument(name: str, hint: Any, value: Any) -> Any:
    try:
        return convert(hint, value)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TypeError(f"argument {name}: {error}") from None


def _hints(holder: Any) -> dict[str, Any]:
    """Return the hints of a function or a class that can be told; names that nothing defines do not matter."""
    try:
        return typing.get_type_hints(holder, include_extras=True)
    except Exception:  # whatever the code's own names do when they are looked up
        return _some_hints(holder)


def _some_hints(holder: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = getattr(holder, "__globals__", {})
    for name, hint in getattr(holder, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: hint})
        try:
            found |= typing.get_type_hints(alone, names, include_extras=True)
        except Exception:  # noqa: S112 - that one stays as it came
            continue
    return found


def convert(hint: Any, value: Any) -> Any:
    """Return a value of JSON as a hint asks for.

    >>> convert(list[int], ["1", 2.0])
    [1, 2]

    Raises:
        TypeError: it does not fit, and neither does another reading of it.
        ValueError: the same, said by a type of the code.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return convert(inner[0], value)
    if origin is typing.Literal:
        return _one_of(inner, value)
    if origin in (typing.Union, types.UnionType):
        return _one_that_fits(inner, value)
    if hint is None or hint is types.NoneType:
        if value is not None:
            raise _unfit("None", value)
        return None
    if isinstance(origin, type):
        return _collection(origin, inner, value)
    if isinstance(hint, type):
        return _of_class(hint, value)
    return convert(hint.__supertype__, value) if hasattr(hint, "__supertype__") else value


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if type(plain) is type(value) and plain == value:
            return choice
    raise _unfit(f"one of {', '.join(repr(choice) for choice in choices)}", value)


def _one_that_fits(choices: tuple[Any, ...], value: Any) -> Any:
    """Return the value as the first choice that has it as it is, or else the first that it can be made into."""
    for choice in choices:
        kind = typing.get_origin(choice) or choice
        if choice is Any or (isinstance(kind, type) and type(value) is kind):
            return convert(choice, value)
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        try:
            return convert(choice, value)
        except (TypeError, ValueError, ArithmeticError):
            continue
    raise _unfit(" or ".join(getattr(choice, "__name__", str(choice)) for choice in choices), value)


def _collection(kind: type, inner: tuple[Any, ...], value: Any) -> Any:
    value = _unpacked(value)
    if issubclass(kind, Mapping):
        if not isinstance(value, Mapping):
            raise _unfit("an object", value)
        key, item = inner if len(inner) == 2 else (Any, Any)
        return {convert(key, each): convert(item, part) for each, part in value.items()}
    if not isinstance(value, list):
        raise _unfit("a list", value)
    if issubclass(kind, tuple):
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(convert(inner[0], each) for each in value)
        if len(inner) != len(value):
            raise _unfit(f"a list of {len(inner)} values", value)
        return tuple(convert(each, part) for each, part in zip(inner, value, strict=True))
    item = inner[0] if inner else Any
    parts = [convert(item, each) for each in value]
    return kind(parts) if kind in (set, frozenset) else parts


def _of_class(kind: type, value: Any) -> Any:
    reader = _READERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if reader is not None:
        return reader(kind, value)
    if hasattr(kind, "model_validate"):  # pydantic's
        return kind.model_validate(_unpacked(value))
    if typing.is_typeddict(kind):
        return _members(kind, value)
    if hasattr(kind, "__dataclass_fields__"):
        return kind(**_members(kind, value))
    if issubclass(kind, enum.Enum):
        return _member(kind, value)
    if kind in (dict, list, tuple, set, frozenset):
        return _bare(kind, value)
    return value


def _members(kind: Any, value: Any) -> dict[str, Any]:
    value = _unpacked(value)
    if not isinstance(value, Mapping):
        raise _unfit("an object", value)
    hints = _hints(kind)
    return {name: _argument(name, hints[name], part) if name in hints else part for name, part in value.items()}


def _member(kind: type[enum.Enum], value: Any) -> enum.Enum:
    for member in kind:
        if member.value == value or (isinstance(value, str) and value == str(member.value)):
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    raise _unfit(f"one of {', '.join(repr(member.value) for member in kind)}", value)


def _bare(kind: Any, value: Any) -> Any:
    value = _unpacked(value)
    if not isinstance(value, dict if kind is dict else list):
        raise _unfit("an object" if kind is dict else "a list", value)
    return value if kind in (dict, list) else kind(value)


def _unpacked(value: Any) -> Any:
    """Return what a text holds that is JSON of a list or an object, as models send it; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _integer(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _unfit("an integer", value)
    if isinstance(value, float) and not value.is_integer():
        raise _unfit("an integer", value)
    return kind(value)


def _number(kind: Callable[..., Any], value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _unfit("a number", value)
    return kind(value)


def _truth(_: type, value: Any) -> bool:
    read = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(read, bool):
        raise _unfit("true or false", value)
    return read


def _words(kind: Callable[[str], Any], value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _unfit("a text", value)
    return kind(str(value))


def _time(kind: Any, value: Any) -> Any:
    if not isinstance(value, str):
        raise _unfit("a text", value)
    return kind.fromisoformat(value)


_READERS: dict[str, Callable[[Any, Any], Any]] = {
    "builtins.str": _words,
    "builtins.int": _integer,
    "builtins.float": _number,
    "builtins.bool": _truth,
    "builtins.bytes": lambda kind, value: kind(_words(str, value), "utf-8"),
    "datetime.datetime": _time,
    "datetime.date": _time,
    "datetime.time": _time,
    "datetime.timedelta": lambda kind, value: _number(lambda seconds: kind(seconds=float(seconds)), value),
    "decimal.Decimal": _words,
    "uuid.UUID": _words,
    "pathlib.Path": _words,
    "pathlib._local.Path": _words,
}
"""How values become what the standard library has, by the class's own name: it need not be imported here."""


def _unfit(wanted: str, value: Any) -> TypeError:
    shown = json.dumps(value, default=str)
    return TypeError(f"it has to be {wanted}, not {shown if len(shown) <= 80 else shown[:79] + '…'}")


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON has it: models and dataclasses by their fields, and `str()` of what JSON does not have.

    >>> plain({1: (2, {3})})
    {'1': [2, '{3}']}

    Raises:
        ValueError: it is nested too deeply, or in itself.
    """
    if depth > DEEPEST:
        raise ValueError(f"what the function returned is nested more than {DEEPEST} deep, or in itself")
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(plain(name, depth + 1)): plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, depth + 1) for part in value]
    if hasattr(type(value), "model_dump"):  # pydantic's
        return plain(value.model_dump(), depth + 1)
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: plain(getattr(value, name), depth + 1) for name in type(value).__dataclass_fields__}
    return str(value)
