"""Who made a version of a block."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal


@dataclass(frozen=True, slots=True)
class Author:
    """An agent (with the run and step it wrote in), a member, a holder of an API key, or Folkmoot itself.

    A member is an agent or program that lives elsewhere; its identifier is its key's.

    The name is kept with every version, so that history stays readable after an agent is deleted.
    """

    type: Literal["agent", "member", "api", "system"]
    id: str | None = None
    name: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    client: str | None = None
    """The program that was used, as it names itself, such as `claude-code/2.1.0`."""

    def to_json(self) -> str:
        """Return the author as a JSON object."""
        return json.dumps(asdict(self))

    def is_same_as(self, other: Author) -> bool:
        """Tell whether both are the same writer, whatever run and step it wrote in."""
        return (self.type, self.id, self.name, self.client) == (other.type, other.id, other.name, other.client)

    @classmethod
    @lru_cache(256)
    def from_json(cls, text: str) -> Author:
        """Return the author that `to_json` wrote; many rows have the same."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        """Return how a person or a model is told of the author, such as `agent "scout"`."""
        kind = "API key" if self.type == "api" else self.type
        return f'{kind} "{self.name}"' if self.name else kind
