"""What steps cost, as far as the prices of their models are known."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.agents.steps import StoredStep
from folkmoot.models.prices import cost_of
from folkmoot.server.state import ServerState


def cost_of_steps(steps: Sequence[StoredStep], state: ServerState) -> float | None:
    """Return what steps cost together, in dollars; None where there are none, or a model's price is not known.

    What a provider took for a call that failed is not known, and not counted.
    """
    prices = state.services.catalogue.prices
    costs = [cost_of(prices, step.model, step.usage) for step in steps if step.status != "failed"]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None
