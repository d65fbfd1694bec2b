"""Who made a version of a block."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Author:
    """An agent (with the run and step it wrote in), a holder of an API key, or Folkmoot itself.

    The name is kept with every version, so that history stays readable after an agent is deleted.
    """

    type: Literal["agent", "api", "system"]
    id: str | None = None
    name: str | None = None
    run_id: str | None = None
    step_id: str | None = None

    def to_json(self) -> str:
        """Return the author as a JSON object."""
        return json.dumps(
            {
                "type": self.type,
                "id": self.id,
                "name": self.name,
                "run_id": self.run_id,
                "step_id": self.step_id,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Author:
        """Return the author that `to_json` wrote."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        """Return how a person or a model is told of the author, such as `agent "scout"`."""
        kind = "API key" if self.type == "api" else self.type
        return f'{kind} "{self.name}"' if self.name else kind
