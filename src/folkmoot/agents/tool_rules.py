"""Which tools a model may, must and must not call next: the rules an agent was given, read and applied.

    run_first               the turn's first call is of one of these tools
    constrain_child_tools   after the tool, only its children
    conditional             after the tool, only the child that its return text names
    parent_last_tool        the children only right after the tool
    max_count_per_step      at most so many calls of the tool in a turn
    continue_loop           after the tool, a further call
    exit_loop               the tool ends the turn
    required_before_exit    no end of the turn before the tool was called
    requires_approval       a call of the tool waits for somebody's consent

Everything here is a pure function of the rules and the calls of the turn so far, refused ones left out. A failed call
does not advance a chain: the rules apply as they did before it, so that the model can try again. It does count
towards `max_count_per_step`, since the tool was run.

Rules of one kind about one tool add up, two lists of children to one list; of limits the lowest counts. Rules of
different kinds all hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from folkmoot.errors import InvalidInput
from folkmoot.tools.tool import Tool

_Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call that was run in this turn, and what it returned."""

    name: str
    text: str
    failed: bool = False
    overtaken: bool = False
    """Whether it was to overwrite a block that others had changed since it was read."""


class _Rule(BaseModel):
    """What every rule has; keys that Folkmoot does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    tool_name: _Name


class _First(_Rule):
    args: dict[str, Any] | None = None


class _Prefill(BaseModel):
    """Arguments that a child is called with, whatever the model says."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: _Name
    args: dict[str, Any] | None = None


class _Children(_Rule):
    children: list[_Name]
    child_arg_nodes: list[_Prefill] | None = None

    @model_validator(mode="after")
    def _nodes_are_children(self) -> _Children:
        for node in self.child_arg_nodes or ():
            if node.name not in self.children:
                raise ValueError(f"child_arg_nodes: {node.name!r} is not one of the children")
        return self


class _Conditional(_Rule):
    child_output_mapping: dict[str, _Name]
    default_child: _Name | None = None
    require_output_mapping: bool | None = False

    def child(self, text: str) -> frozenset[str] | None:
        """Return what may follow a return text; None when any tool may.

        Space around the text does not matter, and neither does case when no output is spelled just like it.
        """
        for spell in (str.strip, _fold):
            for output, child in self.child_output_mapping.items():
                if spell(output) == spell(text):
                    return frozenset({child})
        if self.require_output_mapping:
            return frozenset()
        return None if self.default_child is None else frozenset({self.default_child})


class _Parent(_Rule):
    children: list[_Name]


class _MaxCount(_Rule):
    max_count_limit: Annotated[int, Field(ge=0)]


class _Continue(_Rule):
    pass


class _Terminal(_Rule):
    pass


class _Required(_Rule):
    pass


class _Approval(_Rule):
    pass


_KINDS: Mapping[str, type[_Rule]] = {
    "run_first": _First,
    "constrain_child_tools": _Children,
    "conditional": _Conditional,
    "parent_last_tool": _Parent,
    "max_count_per_step": _MaxCount,
    "continue_loop": _Continue,
    "exit_loop": _Terminal,
    "required_before_exit": _Required,
    "requires_approval": _Approval,
}

_R = TypeVar("_R", bound=_Rule)


@dataclass(frozen=True, slots=True)
class ToolRules:
    """An agent's rules; `ToolRules()` has none and allows everything.

    `tools` is always the names of the agent's tools, `called` the calls of this turn so far.
    """

    _rules: tuple[_Rule, ...] = ()

    @classmethod
    def read(cls, rules: Sequence[Mapping[str, Any]]) -> ToolRules:
        """Read rules as they are on the wire.

        Raises:
            InvalidInput: a rule is of no known type or a field cannot be used, such as
                `tool_rules.0.children (constrain_child_tools of 'roll'): Field required`.
        """
        return cls(tuple(_read(place, rule) for place, rule in enumerate(rules)))

    @classmethod
    def distinct(cls, rules: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return rules as they are on the wire, of those that say the same only the first.

        Raises:
            InvalidInput: as `read` does.
        """
        kept: dict[tuple[str, str], Mapping[str, Any]] = {}
        for place, rule in enumerate(rules):
            read = _read(place, rule)
            kept.setdefault((rule["type"], read.model_dump_json()), rule)
        return list(kept.values())

    @property
    def ordered(self) -> bool:
        """Whether a call may depend on the one before, so that the calls of one reply cannot run all at once."""
        return any(isinstance(rule, _First | _Children | _Conditional | _Parent | _MaxCount) for rule in self._rules)

    def allowed(self, tools: Sequence[str], called: Sequence[Called]) -> list[str]:
        """Return the tools that may be called next, in the order of `tools`; may be none at all."""
        if not self._rules:
            return list(tools)
        return [name for name in tools if self._refusal(name, tools, called) is None]

    def must_call(self, tools: Sequence[str], called: Sequence[Called]) -> bool:
        """Whether a rule demands a further call, and there is one that may be made."""
        if not self._rules or self.ends_turn(called):
            return False
        last = _last_success(called)
        if last is None:
            demanded = bool(self._first(tools))
        else:
            demanded = bool(self._followers(last)) or any(self._of(_Continue, last.name))
        return demanded and bool(self.allowed(tools, called))

    def forced(self, tools: Sequence[str], called: Sequence[Called]) -> str | None:
        """Return the one tool that has to be called next, or None when there is a choice."""
        if not self.must_call(tools, called):
            return None
        allowed = self.allowed(tools, called)
        return allowed[0] if len(allowed) == 1 else None

    def ends_turn(self, called: Sequence[Called]) -> bool:
        """Whether a terminal tool was called with success.

        It need not have been the last call: others of the same reply may follow it, and so may tools that
        `missing_before_exit` still asked for.
        """
        terminal = {rule.tool_name for rule in self._of(_Terminal)}
        return any(call.name in terminal and not call.failed for call in called)

    def missing_before_exit(self, tools: Sequence[str], called: Sequence[Called]) -> list[str]:
        """Return the tools that have to be called with success before the turn may end.

        What can no longer be called is not asked for, or the turn would never end: a tool that the agent does not
        have, one that was called as often as it may be, and any tool once no tool is allowed.
        """
        done = {call.name for call in called if not call.failed}
        required = dict.fromkeys(rule.tool_name for rule in self._of(_Required))
        missing = [
            name for name in required if name in tools and name not in done and self._used_up(name, called) is None
        ]
        return missing if missing and self.allowed(tools, called) else []

    def needs_approval(self, name: str) -> bool:
        """Whether a call of the tool waits for consent."""
        return any(self._of(_Approval, name))

    def prefilled(self, name: str, called: Sequence[Called]) -> dict[str, Any]:
        """Return arguments that override the model's own, if the tool is called next."""
        last = _last_success(called)
        if last is None:
            given: Iterable[dict[str, Any] | None] = [rule.args for rule in self._of(_First, name)]
        else:
            nodes = [node for rule in self._of(_Children, last.name) for node in rule.child_arg_nodes or ()]
            given = [node.args for node in nodes if node.name == name]
        return {key: value for args in given for key, value in (args or {}).items()}

    def explain(self, name: str, tools: Sequence[str], called: Sequence[Called]) -> str:
        """Tell the model why a tool may not be called now, and which ones may.

        `roll was not run: it may only be called right after draw. Tools you may call now: draw, keep.`
        """
        allowed = ", ".join(self.allowed(tools, called))
        now = f"Tools you may call now: {allowed}." if allowed else "You may call no tool now; answer in words."
        reason = f"there is no tool {name!r}" if name not in tools else self._refusal(name, tools, called)
        return f"{name} was not run: {reason}. {now}" if reason else f"{name} may be called. {now}"

    def _of(self, kind: type[_R], tool: str | None = None) -> list[_R]:
        return [rule for rule in self._rules if isinstance(rule, kind) and tool in (None, rule.tool_name)]

    def _refusal(self, name: str, tools: Sequence[str], called: Sequence[Called]) -> str | None:
        """Return why one of the agent's tools may not be called next; None when it may."""
        last = _last_success(called)
        if last is None:
            first = self._first(tools)
            if first and name not in first:
                return f"the first call of a turn has to be of {_either(first)}"
        else:
            for children in self._followers(last):
                if name not in children:
                    only = f"only {_either(sorted(children))}" if children else "no tool"
                    return f"after what {last.name} returned {only} may be called"
        parents = [rule.tool_name for rule in self._of(_Parent) if name in rule.children]
        if parents and (last is None or last.name not in parents):
            return f"it may only be called right after {_either(parents)}"
        limit = self._used_up(name, called)
        return None if limit is None else f"it may be called at most {limit} time{'' if limit == 1 else 's'} in a turn"

    def _first(self, tools: Sequence[str]) -> list[str]:
        """Return the tools to begin with; one that the agent does not have binds nobody."""
        return [rule.tool_name for rule in self._of(_First) if rule.tool_name in tools]

    def _followers(self, last: Called) -> list[frozenset[str]]:
        """Return the sets of tools that the next call has to be in, all of them."""
        sets = []
        if rules := self._of(_Children, last.name):
            sets.append(frozenset(child for rule in rules for child in rule.children))
        mapped = [rule.child(last.text) for rule in self._of(_Conditional, last.name)]
        bound = [children for children in mapped if children is not None]
        if bound and len(bound) == len(mapped):
            sets.append(frozenset().union(*bound))
        return sets

    def _used_up(self, name: str, called: Sequence[Called]) -> int | None:
        """Return how often a tool may be called if it has been that often; None when it may be called again."""
        limits = [rule.max_count_limit for rule in self._of(_MaxCount, name)]
        if not limits or sum(call.name == name for call in called) < min(limits):
            return None
        return min(limits)


def _read(place: int, rule: Mapping[str, Any]) -> _Rule:
    if not isinstance(rule, Mapping):
        raise InvalidInput(f"tool_rules.{place}: a rule is an object with `type` and `tool_name`.")
    kind = rule.get("type")
    model = _KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise InvalidInput(f"tool_rules.{place}.type: {kind!r} is none of {', '.join(_KINDS)}.")
    try:
        return model.model_validate(dict(rule))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in ("tool_rules", place, *problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{where} ({kind} of {rule.get('tool_name')!r}): {message}") from error


def _last_success(called: Sequence[Called]) -> Called | None:
    return next((call for call in reversed(called) if not call.failed), None)


def _fold(text: str) -> str:
    return text.strip().casefold()


def _either(names: Sequence[str]) -> str:
    """List at least one name.

    >>> _either(["keep", "drop"])
    'keep or drop'
    """
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} or {last}" if others else last


def with_default_approvals(rules: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    """Return an agent's rules with one more for each of the tools it is given that wants approval by itself."""
    asked = {rule.get("tool_name") for rule in rules if rule.get("type") == "requires_approval"}
    wanting = [tool.name for tool in tools if tool.stored is not None and tool.stored.default_requires_approval]
    new = [{"tool_name": name, "type": "requires_approval"} for name in wanting if name not in asked]
    return [*rules, *new]
