"""What is counted of model calls."""

from __future__ import annotations

import pytest

from folkmoot import metrics
from folkmoot.models import observing
from folkmoot.models.prompt import Prompt


def test_names_of_models_do_not_fill_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes agents names their models, each time another one, and all of them may fail."""
    monkeypatch.setattr(observing, "MODELS", getattr(metrics, "Named", lambda _: None)(2), raising=False)
    for number in range(9):
        with pytest.raises(KeyError), observing.observed(f"openai/made-up-{number}", Prompt("", [])):
            raise KeyError
    told = [line for line in metrics.page(1, {}).splitlines() if "folkmoot_model_calls_total{" in line]
    assert [line for line in told if "made-up" in line and "made-up-0" not in line and "made-up-1" not in line] == []
    (others,) = (line for line in told if 'model="others"' in line)
    assert others.endswith(" 7")
