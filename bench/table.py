"""The table of all figures, for a terminal, for a page of the documentation, and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.bars import BARS, Figure

COLUMNS = ("figure", "store", "p50", "p99", "a second", "errors", "bar", "met")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def cells(figure: Figure) -> tuple[str, ...]:
    """Return a figure as the table's row shows it."""
    bar = BARS.get(figure.name)
    met = "" if bar is None else "yes" if bar.is_met(figure) else "no"
    timing = figure.timing
    if timing is not None:
        numbers = (f"{timing.p50:.2f} ms", f"{timing.p99:.2f} ms", f"{timing.rate:,.0f}")
    else:
        number = f"{figure.value or 0:,.0f}" if (figure.value or 0) >= 100 else f"{figure.value or 0:.3g}"
        shown = f"{number}{_unit(figure.unit)}"
        numbers = (f"{shown} ({figure.note})" if figure.note else shown, "", "")
    return (figure.name, figure.store, *numbers, str(figure.errors), str(bar or ""), met)


def show(figures: Sequence[Figure], notes: Sequence[str], console: Console) -> None:
    """Print the table and the notes under it."""
    table = Table(*COLUMNS, header_style="bold", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.no_wrap = True
    for place in range(2, 6):
        table.columns[place].justify = "right"
    for figure in figures:
        *row, met = cells(figure)
        colour = {"yes": "green", "no": "red"}.get(met)
        table.add_row(*row, f"[{colour}]{met}[/]" if colour else "")
    console.print(table)
    for note in notes:
        console.print(note, style="dim", highlight=False)


def markdown(figures: Sequence[Figure], notes: Sequence[str]) -> str:
    """Return the table and the notes as Markdown."""
    rows = [COLUMNS, ("---", "---", "---:", "---:", "---:", "---:", "---", "---"), *map(cells, figures)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def write_markdown(path: Path, text: str) -> None:
    """Put the table into a page, between its two marks; a page that is not there is made."""
    page = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def as_json(figures: Sequence[Figure], notes: Sequence[str]) -> dict[str, Any]:
    """Return everything for a program."""
    return {"notes": list(notes), "figures": [_figure_as_json(figure) for figure in figures]}


def _figure_as_json(figure: Figure) -> dict[str, Any]:
    timing, bar = figure.timing, BARS.get(figure.name)
    return {
        "name": figure.name.strip(),
        "store": figure.store,
        "p50_ms": timing.p50 if timing else None,
        "p99_ms": timing.p99 if timing else None,
        "per_second": timing.rate if timing else None,
        "count": len(timing.latencies) if timing else None,
        "errors": figure.errors,
        "error_kinds": dict(timing.errors) if timing else {},
        "value": figure.value,
        "unit": figure.unit.strip(),
        "note": figure.note,
        "bar": None if bar is None else str(bar),
        "met": None if bar is None else bar.is_met(figure),
    }


def _unit(unit: str) -> str:
    return f" {unit}" if unit[:1].isalpha() else unit
