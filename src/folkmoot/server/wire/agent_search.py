"""Searches for agents on the wire."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from folkmoot.agents.listing import AgentFilter
from folkmoot.errors import InvalidInput
from folkmoot.server.wire.agent_replies import AgentReply
from folkmoot.server.wire.common import Reply, Request, Tag, Text

MOST_CONDITIONS = 50
"""Conditions of a search."""

LARGEST_PAGE = 100


class _Of(Request):
    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent, as `AgentFilter` has it."""


class OfName(_Of):
    """An agent of a name, or with something in it."""

    field: Literal["name"]
    operator: Literal["eq", "contains"]
    value: Text

    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent."""
        return {"name": self.value} if self.operator == "eq" else {"query_text": self.value}


class OfTags(_Of):
    """An agent with all of some tags."""

    field: Literal["tags"]
    operator: Literal["contains"]
    value: list[Tag] = Field(min_length=1, max_length=100)

    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent."""
        return {"tags": self.value, "match_all_tags": True}


class OfIdentity(_Of):
    """An agent of an identity."""

    field: Literal["identity"]
    operator: Literal["eq"]
    value: Text

    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent."""
        return {"identity_id": self.value}


class OfId(_Of):
    """One agent."""

    field: Literal["agentId"]
    operator: Literal["eq"]
    value: Text

    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent."""
        return {"agent_id": self.value}


class OfTemplate(_Of):
    """An agent that was made from a template, or from a version of one."""

    field: Literal["templateName", "version"]
    operator: Literal["eq"] = "eq"
    value: Text

    def fields(self) -> dict[str, Any]:
        """Return what the condition asks of an agent."""
        return {"base_template_id" if self.field == "templateName" else "template_id": self.value}


Condition = Annotated[OfName | OfTags | OfIdentity | OfId | OfTemplate, Field(discriminator="field")]
_conditions = TypeAdapter(Annotated[list[Condition], Field(max_length=MOST_CONDITIONS)])


class SearchAgents(Request):
    """Which agents are wanted: those that meet every condition."""

    search: list[Condition] = Field(default_factory=list, max_length=MOST_CONDITIONS)
    project_id: Text | None = None
    combinator: Literal["AND"] = "AND"
    limit: int = Field(50, ge=1, le=LARGEST_PAGE)
    after: Text | None = None
    sortBy: Literal["created_at", "last_run_completion", "updated_at"] = "created_at"  # noqa: N815
    ascending: bool = False

    def wanted(self) -> AgentFilter:
        """Return which agents those are, without their order.

        Raises:
            InvalidInput: two conditions ask for one thing.
        """
        return filter_of(self.search, self.project_id)


class FoundAgents(Reply):
    """A page of agents."""

    agents: list[AgentReply]
    nextCursor: str | None = None  # noqa: N815


class AgentCount(Reply):
    """How many agents there are."""

    count: int


def read_conditions(texts: list[str]) -> list[Any]:
    """Return the conditions of a query, each of them JSON, or all of them as one list.

    Raises:
        InvalidInput: one is none.
    """
    try:
        read = [json.loads(text) for text in texts]
        given = read[0] if len(read) == 1 and isinstance(read[0], list) else read
        return _conditions.validate_python(given)
    except (ValueError, RecursionError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is no JSON"
        raise InvalidInput(
            f'search: {told}; a condition looks like {{"field": "name", "operator": "contains", "value": "ada"}}.'
        ) from error


def filter_of(conditions: list[Any], project_id: str | None) -> AgentFilter:
    """Return which agents meet all conditions.

    Raises:
        InvalidInput: two conditions ask for one thing.
    """
    fields: dict[str, Any] = {"project_id": project_id}
    for condition in conditions:
        for name, value in condition.fields().items():
            if name == "tags" and name in fields:
                fields[name] = [*fields[name], *value]
            elif name in fields and fields[name] != value:
                raise InvalidInput(f"search: two conditions on {condition.field!r} differ, and no agent meets both.")
            else:
                fields[name] = value
    return AgentFilter(**fields)
