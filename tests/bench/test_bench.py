"""The benchmark runs in its smallest form: on SQLite, with `--thorough` on both stores. Its times are not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench import bars, measuring, table  # noqa: E402
from support.turns import STORES  # noqa: E402

LONGEST = 900.0
"""Seconds after which it is taken for stuck; it may have to share the machine with many."""


@pytest.fixture(scope="module")
def stores(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What is measured; the second store takes as long again, and what is done on it is the same."""
    return STORES if request.config.getoption("thorough") else STORES[:1]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, stores: tuple[str, ...]) -> dict[str, Any]:
    """What a smallest run wrote."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "page.md"
    page.write_text(f"Before.\n{table.BEGIN}\nold\n{table.END}\nAfter.\n")
    on = "both" if stores == STORES else stores[0]
    wanted = ("--store", on, "--size", "smallest", "--json", folder / "out.json", "--markdown", page)
    command = [sys.executable, "-m", "bench", *wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {**json.loads((folder / "out.json").read_text()), "printed": done.stdout, "page": page.read_text()}


def test_every_row_is_there(result: dict[str, Any], stores: tuple[str, ...]) -> None:
    for store in stores:
        names = [figure["name"] for figure in result["figures"] if figure["store"] == store]
        assert set(bars.EACH_STORE) <= set(names)
        assert len(names) == len(bars.EACH_STORE) + 2 * len(bars.COMPARED)
        assert len(set(names)) == len(names)


def test_nothing_went_wrong(result: dict[str, Any], stores: tuple[str, ...]) -> None:
    assert {figure["name"]: figure["error_kinds"] for figure in result["figures"] if figure["errors"]} == {}
    assert [f["value"] for f in result["figures"] if f["name"] == bars.LANDED] == [100.0] * len(stores)
    assert [f["value"] for f in result["figures"] if f["name"] == bars.CALLS] == [2.0] * len(stores)


def test_the_table_is_printed_and_written_between_the_marks(result: dict[str, Any], stores: tuple[str, ...]) -> None:
    assert bars.READ_32 in result["printed"]
    assert "The load generator itself" in result["printed"]
    assert result["page"].startswith("Before.\n")
    assert result["page"].endswith("After.\n")
    assert "\nold\n" not in result["page"]
    assert result["page"].count(f"| {bars.READ_32} |") == len(stores)


def test_bars_come_from_the_retired_servers_figures() -> None:
    shown = {name: str(bar) for name, bar in bars.BARS.items()}
    assert shown[bars.READ_1] == "≤ 1.22 ms"
    assert shown[bars.READ_32] == "≥ 2,520/s"
    assert shown[bars.UPDATE_32] == "≥ 768/s"
    assert shown[bars.CREATE_AGENT] == "≤ 7 ms"
    assert shown[bars.TURN_TEXT] == "≤ 9.3 ms"
    assert shown[bars.TURN_TOOL] == "≤ 15 ms"
    assert shown[bars.TURNS_16] == "≥ 175/s"
    assert shown[bars.RESIDENT] == "< 150 MB"


def test_a_bar_is_not_met_with_errors() -> None:
    bar = bars.Bar("p50", 10, "ms")
    timing = measuring.Timing((1.0, 2.0, 3.0), 0.006)
    assert bar.is_met(bars.Figure("read", timing=timing))
    timing.errors["503"] += 1
    assert not bar.is_met(bars.Figure("read", timing=timing))
    assert not bar.is_met(bars.Figure("read"))
    assert bars.Bar("value", 1.5, "×").is_met(bars.Figure("growth", value=1.5))
    assert not bars.Bar("value", 100, "%", at_least=True).is_met(bars.Figure("landed", value=99.0))
