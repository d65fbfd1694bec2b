"""What model calls cost: a small table of prices, and one's own beside it.

Prices are in US dollars for a million tokens, under a model's handle. A dated name of the model, such as
`openai/gpt-4o-mini-2024-07-18`, costs what it does. Discounts are not in it, nor what some take more for very long
prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from folkmoot.errors import StartupError
from folkmoot.models.prompt import Usage

_DATED = re.compile(r"[-@](latest|\d{4}[-\d]*)$")

_Dollars: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000)]


class Price(BaseModel):
    """Dollars for a million tokens; those of a cache cost as much as any others where nothing is said of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: _Dollars
    output: _Dollars
    cached_input: _Dollars | None = None
    cache_write: _Dollars | None = None

    def of(self, usage: Usage) -> float:
        """Return what these tokens cost, in dollars."""
        fresh = max(usage.prompt_tokens - usage.cached_input_tokens - usage.cache_write_tokens, 0)
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        parts = (
            (fresh, self.input),
            (usage.cached_input_tokens, cached),
            (usage.cache_write_tokens, written),
            (usage.completion_tokens, self.output),
        )
        return sum(tokens * dollars for tokens, dollars in parts) / 1_000_000


Prices: TypeAlias = Mapping[str, Price]

_TABLE = TypeAdapter(dict[str, Price])


@cache
def shipped_prices() -> Prices:
    """Return the prices that come with Folkmoot."""
    return _TABLE.validate_json((files("folkmoot.models") / "prices.json").read_bytes())


def read_prices(path: Path | None) -> Prices:
    """Return the prices that hold: those of a file, and of models that it does not name the shipped ones.

    Raises:
        StartupError: the file cannot be read, or is not of that form.
    """
    if path is None:
        return shipped_prices()
    try:
        own = _TABLE.validate_json(path.expanduser().read_bytes())
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        form = json.dumps({"openai/gpt-4o-mini": {"input": 0.15, "output": 0.6}})
        raise StartupError(f"FOLKMOOT_PRICES: {path} cannot be used: {why}. It looks like {form}.") from error
    return {**shipped_prices(), **own}


def cost_of(prices: Prices, handle: str, usage: Usage) -> float | None:
    """Return what a model call cost, in dollars; None for a model whose price is not known.

    >>> cost_of({"a/b": Price(input=1, output=2)}, "a/b-2026-01-02", Usage(prompt_tokens=1_000_000))
    1.0
    """
    price = prices.get(handle) or prices.get(_DATED.sub("", handle))
    return None if price is None else price.of(usage)
