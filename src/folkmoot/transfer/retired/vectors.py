"""Embeddings as the retired server keeps them: 4,096 numbers, those behind the model's own all 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from folkmoot.store.vectors import unit


def vector_of(row: Mapping[str, Any]) -> Sequence[float] | None:
    """Return a row's embedding as a vector of length 1 and the model's own dimensions; None where it has none.

    Args:
        row: of passages, its `embedding` as text.

    Raises:
        ValueError: the text is no list of numbers.
    """
    text = row.get("embedding")
    if not text:
        return None
    values = [float(value) for value in text.strip("[]").split(",") if value]
    config = row.get("embedding_config")
    told = config.get("embedding_dim") if isinstance(config, dict) else None
    if isinstance(told, int) and 0 < told <= len(values) and not any(values[told:]):
        values = values[:told]
    else:
        while values and values[-1] == 0:
            values.pop()
    return unit(values) if any(values) else None
