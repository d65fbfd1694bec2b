"""What a tool of the door is. Nothing here knows the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, model_validator

from folkmoot.mcp_server.member import Member

Report: TypeAlias = Callable[[int, str], Awaitable[None]]
"""Tells who called how far a tool has come: a rising number, and words."""


class Arguments(BaseModel):
    """What a tool takes; a name that it does not know is an error, which tells the model."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, given: Any) -> Any:
        """Take null for a parameter that need not be given as not given: many models and clients send it so."""
        if not isinstance(given, dict):
            return given
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in given.items() if value is not None or name not in optional}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answers: words for a model, and the same as data for a program."""

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


Effect: TypeAlias = Literal["reads", "adds", "changes", "asks"]


@dataclass(frozen=True, slots=True)
class DoorTool:
    """A tool of the door: what it is called, what it takes and does, and who is offered it."""

    name: str
    title: str
    description: str
    takes: type[BaseModel]
    run: Callable[[Member, Any, Report], Awaitable[Answer]]
    effect: Effect = "reads"
    offered_to: Callable[[Member], bool] = lambda member: True
