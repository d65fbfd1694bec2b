"""Figures of this process in Prometheus' text format: what happened since it began, and how it stands.

Everything is counted on the event loop, by adding to a number; a page is made when somebody asks for it.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

from folkmoot import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]

OTHERS = "others"
"""The label of all names beyond those that are told apart."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram's buckets."""


class Counter:
    """A number that grows, for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, about: str, labels: Labels = ()) -> None:
        """Begin with nothing counted."""
        self.name, self.about, self.labels = name, about, labels
        self._values: dict[Labels, float] = {}
        _all.append(self)

    def add(self, *labels: str, by: float = 1) -> None:
        """Add to the number of these labels."""
        self._values[labels] = self._values.get(labels, 0) + by

    def add_on_commit(self, *labels: str) -> None:
        """Add one once the transaction has committed in which this is called, and nothing if it does not."""
        tally = _tally.get()
        if tally is None:
            self.add(*labels)
        else:
            tally.append((self, labels))

    def lines(self) -> Iterator[tuple[str, Labels, Labels, float]]:
        """Yield each number with its name, the names of its labels and the labels."""
        for labels, value in self._values.items():
            yield self.name, self.labels, labels, value


class Named:
    """Names that others give, as labels: no more of them than a page of figures, and a process, can bear."""

    def __init__(self, most: int) -> None:
        """Tell so many names apart; all further ones are `OTHERS`."""
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """Return what a name is shown as."""
        if name not in self._known and len(self._known) >= self._most:
            return OTHERS
        self._known.add(name)
        return name


class Gauge:
    """How something stands: what it is asked for, when somebody asks."""

    kind = "gauge"

    def __init__(self, name: str, about: str, labels: Labels = ()) -> None:
        """Begin without anybody to ask."""
        self.name, self.about, self.labels = name, about, labels
        self.read: Callable[[], Mapping[Labels, float]] = dict

    def lines(self) -> Iterator[tuple[str, Labels, Labels, float]]:
        """Yield each number with its name, the names of its labels and the labels."""
        for labels, value in self.read().items():
            yield self.name, self.labels, labels, value


class Histogram:
    """How long something takes, in seconds, for each combination of labels."""

    kind = "histogram"

    def __init__(self, name: str, about: str, labels: Labels = ()) -> None:
        """Begin with nothing measured."""
        self.name, self.about, self.labels = name, about, labels
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        _all.append(self)

    def observe(self, seconds: float, *labels: str) -> None:
        """Add a measurement."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(SECONDS) + 1)
        counts[bisect_left(SECONDS, seconds)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + seconds

    def lines(self) -> Iterator[tuple[str, Labels, Labels, float]]:
        """Yield each number with its name, the names of its labels and the labels."""
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket", (*self.labels, "le"), (*labels, bound), total
            yield f"{self.name}_sum", self.labels, labels, self._sums[labels]
            yield f"{self.name}_count", self.labels, labels, total


_all: list[Counter | Histogram] = []
_tally: ContextVar[list[tuple[Counter, Labels]] | None] = ContextVar("tally", default=None)

MODELS = Named(200)
"""Agents may name any model, and what a provider does not have is a failed call."""

REQUESTS = Counter("folkmoot_requests_total", "Requests answered.", ("method", "route", "status"))
REQUEST_SECONDS = Histogram("folkmoot_request_seconds", "Until an answer began.", ("method",))
TURNS = Counter("folkmoot_turns_total", "Turns that ended, by why.", ("stop_reason",))
MODEL_CALLS = Counter("folkmoot_model_calls_total", "Model calls, by what came of them.", ("model", "outcome"))
MODEL_SECONDS = Histogram("folkmoot_model_seconds", "Until a model's reply was whole.", ("model",))
TOKENS = Counter("folkmoot_tokens_total", "Tokens of model calls, as providers count them.", ("model", "kind"))
TOOL_CALLS = Counter("folkmoot_tool_calls_total", "Tool calls that were run.", ("outcome",))
EDITS = Counter("folkmoot_memory_edits_total", "Edits of blocks, landed or refused.", ("outcome", "author"))
STORE_SECONDS = Histogram("folkmoot_store_seconds", "Until a write was durable, or a scan done.", ("kind",))
RUNS = Gauge("folkmoot_runs", "Runs of this process: with their conversation, or waiting for it.", ("state",))
LEASES = Gauge("folkmoot_leases", "Leases that this process keeps extending.", ("kind",))
READERS = Gauge("folkmoot_readers", "Streams that are being read.")
_FIXED = (RUNS, LEASES, READERS)
_BEGAN = time.time()


@contextmanager
def counting() -> Iterator[list[tuple[Counter, Labels]]]:
    """Gather what is counted inside, to be added with `add_all` if its transaction commits."""
    tally: list[tuple[Counter, Labels]] = []
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def add_all(tally: Sequence[tuple[Counter, Labels]]) -> None:
    """Add what was counted in a transaction that has committed."""
    for counter, labels in tally:
        counter.add(*labels)


def page(workers: int, store_bytes: Mapping[Labels, float]) -> str:
    """Return all figures; where a server has several processes, with the one whose they are.

    Args:
        workers: how many processes the server has.
        store_bytes: what the database takes (`used`) and what its disk has left (`free`), where that is known.
    """
    own: tuple[Labels, Labels] = (("process",), (str(os.getpid()),)) if workers > 1 else ((), ())
    lines: list[str] = []
    store = Gauge("folkmoot_store_bytes", "Bytes of the database (used), and left on its disk (free).", ("kind",))
    store.read = lambda: store_bytes
    for each in (*_all, *_FIXED, store):
        lines += _head(each.name, each.kind, each.about)
        told = each.lines()
        lines += [_line(name, (*names, *own[0]), (*labels, *own[1]), value) for name, names, labels, value in told]
    plain: list[tuple[str, Literal["gauge", "counter"], str, Labels, Labels, float]] = [
        ("folkmoot_info", "gauge", "Which Folkmoot this is.", ("version",), (__version__,), 1),
        ("process_resident_memory_bytes", "gauge", "Memory in use.", (), (), _resident()),
        ("process_cpu_seconds_total", "counter", "Time on processors.", (), (), time.process_time()),
        ("process_start_time_seconds", "gauge", "When it began, in unix time.", (), (), _BEGAN),
    ]
    for name, kind, about, names, labels, value in plain:
        lines += [*_head(name, kind, about), _line(name, (*names, *own[0]), (*labels, *own[1]), value)]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _line(name: str, names: Labels, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in zip(names, labels, strict=True))
    return f"{name}{{{shown}}} {value:.17g}" if shown else f"{name} {value:.17g}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _resident() -> int:
    """Return this process's resident memory in bytes; 0 where the kernel does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as status:  # noqa: PTH123 - read thousands of times a day
            return int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
