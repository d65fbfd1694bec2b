"""The figures of the retired server, and the bars that follow from them.

They were taken with the retired server (0.16.8, PostgreSQL, pooled connections) on a machine of 2 cores which the load
generator shared. Absolute times do not travel: on another machine compare the ratios, not the verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.measuring import Timing


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: a timing, or one value with its unit."""

    name: str
    store: str = ""
    timing: Timing | None = None
    value: float | None = None
    unit: str = ""
    note: str = ""
    failures: int = 0
    """What went wrong besides requests that were refused."""

    @property
    def errors(self) -> int:
        """How much went wrong."""
        return self.failures + (self.timing.errors.total() if self.timing else 0)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach."""

    of: Literal["p50", "rate", "value"]
    limit: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        """Return the bar as the table shows it, such as `≤ 1.22 ms`."""
        sign = "≥" if self.at_least else "<" if self.of == "value" and self.unit in ("s", "MB", "packages") else "≤"
        number = f"{self.limit:,.0f}" if self.limit >= 100 else f"{self.limit:.3g}"
        return f"{sign} {number}{' ' if self.unit[:1].isalpha() else ''}{self.unit}"

    def is_met(self, figure: Figure) -> bool:
        """Tell whether the figure reaches the bar, without an error."""
        reached = figure.value if self.of == "value" else getattr(figure.timing, self.of, None)
        if reached is None or figure.errors:
            return False
        return bool(reached >= self.limit if self.at_least else reached <= self.limit)


def _faster(retired: float, ratio: float) -> Bar:
    return Bar("p50", retired / ratio, "ms")


def _more(retired: float, ratio: float) -> Bar:
    return Bar("rate", retired * ratio, "/s", at_least=True)


GROWTH = Bar("value", 1.5, "×")
"""How much slower the large case may be than the small one."""

READ_1 = "read a block, 1 client"
READ_32 = "read a block, 32 clients"
UPDATE_32 = "update one block, 32 clients"
CREATE_AGENT = "create an agent"
TURN_TEXT = "turn, text reply"
TURN_TOOL = "turn, one memory tool"
TURNS_16 = "16 agents taking turns"
INSERTS_32 = "32 agents inserting into one block: turns"
LANDED = "32 agents inserting into one block: landed"
CALLS = "32 agents inserting into one block: model calls for each turn"
COLD_START = "cold start to first healthy answer"
READ_COST = "read a block: the bare framework's processor time over the server's"
TEXT_COST = "turn, text reply, 20 messages in context: processor time"
LONG_TEXT_COST = "turn, text reply, 400 messages in context: processor time"
TOOL_COST = "turn, one memory tool, 20 messages in context: processor time"
RESIDENT_IDLE = "resident memory before any work"
RESIDENT = "resident memory after this work"
INSTALLED = "installed size"
MOVED = "messages imported from the retired server's database"
MOVING_MEMORY = "largest memory meanwhile"
BACKED_UP = "backup, for 1 GB of a database"
RESTORED = "restore, for 1 GB of a database"
COPIED = "copy to the other kind of store, for 1 GB of a database"
PACKAGES = "installed packages"
CODE_BARE = "run code: the bare function"
CODE_COLD = "run code: first call, cold"
CODE_EXPECTED = "run code: first call of a turn, whose model took a while"
CODE_WARM = "run code: warm"
CODE_32 = "run code: 32 at once"
CODE_PACKAGES = "run code: first call with packages that are there"
CODE_HOSTS = "run code: warm, with a host to reach"
CODE_JAVASCRIPT = "run code: JavaScript, warm"
PASSAGE_INSERT = "add a passage to many"
PASSAGE_MEANING = "search many passages by meaning"
PASSAGE_RECALL = "search many passages by meaning: of the 10 nearest"
PASSAGE_WORDS = "search many passages by words"
TOOL_BARE = "call a tool of an MCP server: the server alone"
TOOL_WARM = "call a tool of an MCP server: warm"
TURN_MEANWHILE = "turn while files are read, against none"
TURN_BACKUP = "turn while a backup is made, against none"
FILES_READ = "files uploaded at once, until all are read"
LONG_TALK = "turn at many stored messages, against 100"
DEEP_PAGE = "last page of messages, against the first"
MANY_READERS = "edit of a block of many agents, against 2"
MCP_EDIT = "memory edit through MCP, against the same by HTTP"


@dataclass(frozen=True, slots=True)
class StreamNames:
    """The rows of one kind of stream; the fourth says when the last reader has the last event."""

    resident: str
    health: str
    slowest: str
    last: str

    @classmethod
    def of(cls, kind: str, last: str) -> StreamNames:
        """Name the rows."""
        return cls(f"{kind}: resident memory", f"{kind}: health", f"{kind}: slowest health answer", f"{kind}: {last}")


WATCHES = StreamNames.of("many watches of one block", "5 edits at once, until the last reader has them")
RUNS = StreamNames.of("many runs under way", "from the last word to the last reader")
PAGES = StreamNames.of("many open pages", "20 edits in a second, from the last until each page knows it")
STREAMS = tuple(
    name for names in (WATCHES, RUNS, PAGES) for name in (names.resident, names.health, names.slowest, names.last)
)
STREAMS_RESIDENT = Bar("value", 300, "MB")
STREAMS_HEALTH = Bar("value", 100, "ms")
"""Of 1,000 streams on one process."""

HEALTH_ALONE = "health, p99, alone"
UNDER_BLAME = "health, p99, under: blame of a large block"
UNDER_PAGE = "health, p99, under: the page of a large block"
UNDER_REPLACE = "health, p99, under: a replace with very many matches"
UNDER_NO_MATCH = "health, p99, under: a replace without a match in a large block"
UNDER_SEARCH = "health, p99, under: search of a common word"
UNDER_FILTER = "health, p99, under: blocks by a part of their text"
UNDER_AGENTS = "health, p99, under: all agents with their blocks"
UNDER_MOOT = "health, p99, under: the first page"
UNDER_METADATA = "health, p99, under: 9 MB of metadata"
UNDER_VALUES = "health, p99, under: metadata of very many values"
UNDER_TEXT = "health, p99, under: a large text written anew"
UNDER_BLOCKS = "health, p99, under: an agent with 100 new blocks"
UNDER_FORK = "health, p99, under: fork of a long conversation"
UNDER_RESET = "health, p99, under: reset of a long conversation"
UNDER_DELETE = "health, p99, under: an agent's deletion with its messages"
HOLD_UPS = (
    UNDER_BLAME,
    UNDER_PAGE,
    UNDER_REPLACE,
    UNDER_NO_MATCH,
    UNDER_SEARCH,
    UNDER_FILTER,
    UNDER_AGENTS,
    UNDER_MOOT,
    UNDER_METADATA,
    UNDER_VALUES,
    UNDER_TEXT,
    UNDER_BLOCKS,
    UNDER_FORK,
    UNDER_RESET,
    UNDER_DELETE,
)
ONLY_ONCE = (UNDER_RESET, UNDER_DELETE)
"""What there is nothing to do for a second time."""
HELD_UP = Bar("value", 100, "ms")

BARS: Mapping[str, Bar] = {
    READ_1: _faster(7.3, 6),
    READ_32: _more(210, 12),
    UPDATE_32: _more(96, 8),
    CREATE_AGENT: _faster(56, 8),
    TURN_TEXT: _faster(186, 20),
    TURN_TOOL: _faster(375, 25),
    TURNS_16: _more(7, 25),
    LANDED: Bar("value", 100, "%", at_least=True),
    CALLS: Bar("value", 2, " calls"),
    COLD_START: Bar("value", 1.5, "s"),
    READ_COST: Bar("value", 0.5, "×", at_least=True),
    TEXT_COST: Bar("value", 5, "ms"),
    LONG_TEXT_COST: Bar("value", 7, "ms"),
    TOOL_COST: Bar("value", 9, "ms"),
    RESIDENT_IDLE: Bar("value", 120, "MB"),
    RESIDENT: Bar("value", 150, "MB"),
    INSTALLED: Bar("value", 200, "MB"),
    MOVED: Bar("value", 5000, "/s", at_least=True),
    MOVING_MEMORY: Bar("value", 200, "MB"),
    BACKED_UP: Bar("value", 60, "s"),
    RESTORED: Bar("value", 60, "s"),
    PACKAGES: Bar("value", 80, "packages"),
    WATCHES.resident: STREAMS_RESIDENT,
    WATCHES.slowest: STREAMS_HEALTH,
    RUNS.resident: STREAMS_RESIDENT,
    RUNS.slowest: STREAMS_HEALTH,
    PAGES.resident: STREAMS_RESIDENT,
    PAGES.slowest: STREAMS_HEALTH,
    PAGES.last: Bar("p50", 1000, "ms"),
    **dict.fromkeys(HOLD_UPS, HELD_UP),
    CODE_COLD: Bar("p50", 60, "ms"),
    CODE_EXPECTED: Bar("p50", 60, "ms"),
    CODE_PACKAGES: Bar("p50", 60, "ms"),
    CODE_WARM: Bar("p50", 15, "ms"),
    CODE_HOSTS: Bar("p50", 15, "ms"),
    PASSAGE_INSERT: Bar("p50", 5, "ms"),
    PASSAGE_MEANING: Bar("p50", 60, "ms"),
    PASSAGE_RECALL: Bar("value", 95, "%", at_least=True),
    PASSAGE_WORDS: Bar("p50", 20, "ms"),
    TOOL_WARM: Bar("p50", 5, "ms"),
    TURN_MEANWHILE: GROWTH,
    TURN_BACKUP: GROWTH,
    LONG_TALK: GROWTH,
    DEEP_PAGE: GROWTH,
    MANY_READERS: GROWTH,
    MCP_EDIT: Bar("value", 1.5, "×"),
}
"""By the figure's name; a figure that is not here is only shown."""

WORK = (READ_1, READ_32, UPDATE_32, CREATE_AGENT, TURN_TEXT, TURN_TOOL, TURNS_16, INSERTS_32, LANDED, CALLS)
COSTS = (READ_COST, TEXT_COST, LONG_TEXT_COST, TOOL_COST)
UPLOADS = (TURN_MEANWHILE, FILES_READ)
GROWTHS = (LONG_TALK, DEEP_PAGE, MANY_READERS)
PASSAGES = (PASSAGE_INSERT, PASSAGE_MEANING, PASSAGE_RECALL, PASSAGE_WORDS)
COMPARED = (*GROWTHS, MCP_EDIT)
EACH_STORE = (
    COLD_START,
    RESIDENT_IDLE,
    *WORK,
    RESIDENT,
    *COSTS,
    MCP_EDIT,
    *UPLOADS,
    HEALTH_ALONE,
    *HOLD_UPS,
    *GROWTHS,
    TURN_BACKUP,
    *STREAMS,
    *PASSAGES,
)
"""The rows of each store, in the table's order (those of `COMPARED` take a row for each of their two cases besides)."""
