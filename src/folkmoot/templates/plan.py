"""What a template plans: agents, their blocks, and the variables that are filled in when they are made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from folkmoot.errors import InvalidInput
from folkmoot.groups.groups import ManagerType

MOST_AGENTS = 20
"""Agents of one template."""

MOST_BLOCKS = 200

MOST_FILLED = 5_000_000
"""Characters of all texts of a plan once its variables are filled in."""

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_.-]{1,100})\s*\}\}")


@dataclass(frozen=True, slots=True)
class Variable:
    """Something that is filled in; `default` is what stands there when it is not."""

    key: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block that agents shall have. `entity_id` is its name in the template, in every version."""

    entity_id: str
    label: str
    value: str
    limit: int
    description: str | None = None
    read_only: bool = False
    preserve_on_migration: bool = False
    """Whether what is written in it stays when its agent is led to another version."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PlannedAgent:
    """An agent that shall be. `entity_id` is its name in the template, in every version."""

    entity_id: str
    name: str
    model: str
    system: str
    agent_type: str
    description: str | None = None
    embedding: str | None = None
    timezone: str | None = None
    tool_ids: Sequence[str] = ()
    folder_ids: Sequence[str] = ()
    identity_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are kept as they are."""

    tool_variables: Sequence[Variable] = ()
    """Variables for its tools; a template keeps no secrets, only their names."""

    memory_variables: Sequence[Variable] = ()
    blocks: Mapping[str, str] = field(default_factory=dict)
    """Which blocks it has, and with which access."""


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A group of the plan's agents: one of them may lead it, the others are its members, in their order."""

    manager_type: ManagerType
    manager: str | None = None
    """The name in the template of who leads it."""

    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those of `MANAGER_FIELDS` that this kind of group has, but for its manager."""


@dataclass(frozen=True, slots=True)
class TemplatePlan:
    """All of one version."""

    agents: Sequence[PlannedAgent]
    blocks: Sequence[PlannedBlock]
    group: PlannedGroup | None = None

    def to_json(self) -> str:
        """Return the plan as it is kept."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TemplatePlan:
        """Return the plan that `to_json` wrote."""
        kept = json.loads(text)
        agents = [
            PlannedAgent(
                **{
                    **agent,
                    "tool_variables": [Variable(**each) for each in agent["tool_variables"]],
                    "memory_variables": [Variable(**each) for each in agent["memory_variables"]],
                }
            )
            for agent in kept["agents"]
        ]
        group = kept.get("group")  # plans that were kept before there were groups say nothing of them
        blocks = [PlannedBlock(**block) for block in kept["blocks"]]
        return cls(agents, blocks, None if group is None else PlannedGroup(**group))

    def checked(self) -> TemplatePlan:
        """Return the plan if it fits together.

        Raises:
            InvalidInput: it is empty or too large, or names something twice or something that is not there.
        """
        if not 0 < len(self.agents) <= MOST_AGENTS:
            raise InvalidInput(f"agents: a template has 1 to {MOST_AGENTS} agents; got {len(self.agents)}.")
        if len(self.blocks) > MOST_BLOCKS:
            raise InvalidInput(f"blocks: a template has at most {MOST_BLOCKS} blocks; got {len(self.blocks)}.")
        _refuse_twice("agents", [agent.entity_id for agent in self.agents])
        _refuse_twice("blocks", [block.entity_id for block in self.blocks])
        blocks = {block.entity_id: block for block in self.blocks}
        for agent in self.agents:
            for entity_id in agent.blocks:
                if entity_id not in blocks:
                    raise InvalidInput(f"relationships: there is no block {entity_id!r} in the template.")
            _refuse_twice(f"labels of agent {agent.entity_id}", [blocks[each].label for each in agent.blocks])
        if self.group is not None:
            self._check_group(self.group)
        return self

    def _check_group(self, group: PlannedGroup) -> None:
        if group.manager is None and group.manager_type != "round_robin":
            raise InvalidInput(f"configuration: a group of the kind {group.manager_type} has a managerAgentEntityId.")
        names = [agent.entity_id for agent in self.agents]
        if group.manager is not None and group.manager not in names:
            raise InvalidInput(f"configuration: managerAgentEntityId {group.manager!r} is none of the agents.")
        if not set(names) - {group.manager}:
            raise InvalidInput("type: a group has members; the template has no agent beside the one that leads it.")

    def shared_blocks(self) -> list[str]:
        """Return the blocks that all of its agents have, by their names in the template."""
        return [block.entity_id for block in self.blocks if all(block.entity_id in each.blocks for each in self.agents)]

    def blocks_of(self, agent: PlannedAgent) -> list[PlannedBlock]:
        """Return the blocks of one of its agents."""
        return [block for block in self.blocks if block.entity_id in agent.blocks]

    def memory_variables(self) -> dict[str, Variable]:
        """Return what is filled in, in the agents' instructions and in their blocks."""
        found = {variable.key: variable for agent in self.agents for variable in agent.memory_variables}
        texts = [*(agent.system for agent in self.agents), *(block.value for block in self.blocks)]
        return {**{key: Variable(key) for key in keys_in(texts)}, **found}

    def check_variables(self, values: Iterable[str]) -> None:
        """Refuse values of variables that the template has not.

        Raises:
            InvalidInput: there is one.
        """
        known = self.memory_variables()
        for key in values:
            if key not in known:
                names = ", ".join(map(repr, known)) or "none"
                raise InvalidInput(f"memory_variables: the template has no variable {key!r}; it has: {names}.")


class Filling:
    """Fills the texts of a plan in: all of them together, within a bound."""

    def __init__(self, plan: TemplatePlan, values: Mapping[str, str]) -> None:
        """Fill in `values`, and for what they do not name the plan's defaults."""
        defaults = {key: variable.default for key, variable in plan.memory_variables().items()}
        self._values = {**defaults, **values}
        self._left = MOST_FILLED

    def fill(self, text: str) -> str:
        """Return a text with its variables filled in; one without a value and a default stays as it stands.

        Raises:
            InvalidInput: the texts that were filled in so far would be too long with it.
        """
        length = len(text)
        for match in _VARIABLE.finditer(text):
            length += len(self._value_of(match)) - len(match[0])
        self._left -= length
        if self._left < 0:
            raise InvalidInput(
                f"memory_variables: filled in, the template's texts have over {MOST_FILLED:,} characters; "
                "shorten the values, or the texts that name them."
            )
        return _VARIABLE.sub(self._value_of, text)

    def _value_of(self, match: re.Match[str]) -> str:
        value = self._values.get(match[1])
        return match[0] if value is None else value


def keys_in(texts: Iterable[str]) -> list[str]:
    """Return the variables that stand in texts, each once.

    >>> keys_in(["Hello {{name}}, {{ name }} of {{city}}."])
    ['name', 'city']
    """
    return list(dict.fromkeys(key for text in texts for key in _VARIABLE.findall(text)))


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"{what}: {twice[0]!r} is there twice; a template names each once.")
