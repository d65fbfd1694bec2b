"""Which model calls a process keeps the trace of: of all runs, or of recent ones, as much as an organisation may have.

The oldest of them are forgotten once a minute (`runs/pruning.py`). In between a process adds no more than may be kept
in all, so that an organisation never has more than twice that, however much its agents do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from folkmoot.agents.steps import trace_of
from folkmoot.models.prompt import Prompt, Reply
from folkmoot.settings import Settings

LARGEST = 2_000_000
"""Characters of one trace with `recent`; a longer one is not kept."""


class TraceKeeping:
    """What this process has kept since the oldest traces were last forgotten."""

    def __init__(self, settings: Settings) -> None:
        """Keep what `settings` say."""
        self._which = settings.trace
        self._most = settings.recent_traces_size
        self._added: Counter[str] = Counter()

    def kept(self, prompt: Prompt, reply: Reply, organization_id: str) -> Mapping[str, str] | None:
        """Return the trace of a model call, as JSON, when it is to be kept."""
        if self._which == "off":
            return None
        trace = trace_of(prompt, reply)
        if self._which == "all":
            return trace
        size = sum(map(len, trace.values()))
        if size > LARGEST or self._added[organization_id] + size > self._most:
            return None
        self._added[organization_id] += size
        return trace

    def forget_added(self) -> None:
        """Begin to count anew: the oldest have been forgotten."""
        self._added.clear()
