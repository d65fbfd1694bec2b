"""What model calls cost: the shipped table, and one of one's own before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from folkmoot.errors import StartupError
from folkmoot.models.prices import cost_of, read_prices, shipped_prices
from folkmoot.models.prompt import Usage
from folkmoot.models.providers import PROVIDERS

MILLION = 1_000_000


def test_tokens_of_a_cache_have_a_price_of_their_own() -> None:
    usage = Usage(prompt_tokens=3 * MILLION, completion_tokens=MILLION, cached_input_tokens=MILLION,
                  cache_write_tokens=MILLION)  # fmt: skip
    assert cost_of(shipped_prices(), "anthropic/claude-haiku-4-5", usage) == pytest.approx(1 + 0.1 + 1.25 + 5)
    assert cost_of(shipped_prices(), "openai/gpt-4o-mini-2024-07-18", Usage(MILLION)) == pytest.approx(0.15)


def test_a_model_that_is_not_in_the_table_has_no_cost() -> None:
    assert cost_of(shipped_prices(), "openai/gpt-4o-mini-audio", Usage(MILLION)) is None
    assert cost_of(shipped_prices(), "offline/notetaker", Usage(MILLION)) is None
    names = {provider.name for provider in PROVIDERS}
    assert {handle.partition("/")[0] for handle in shipped_prices()} <= names


def test_a_file_changes_the_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"vllm/qwen": {"input": 0.5, "output": 1}, "openai/gpt-4o-mini": {"input": 2, "output": 2}}')
    prices = read_prices(path)
    assert cost_of(prices, "vllm/qwen", Usage(MILLION)) == pytest.approx(0.5)
    assert cost_of(prices, "openai/gpt-4o-mini", Usage(MILLION)) == pytest.approx(2)
    assert cost_of(prices, "openai/gpt-4o", Usage(MILLION)) == pytest.approx(2.5)


@pytest.mark.parametrize("text", ["{", '{"a/b": {"input": -1, "output": 1}}', '{"a/b": {"in": 1}}', None])
def test_a_file_that_cannot_be_used_says_so_at_the_start(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "prices.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StartupError, match=r"FOLKMOOT_PRICES: .*cannot be used.*It looks like"):
        read_prices(path)
