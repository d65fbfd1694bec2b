"""Which model calls a process keeps the trace of: of all runs, or of recent ones, as much as an organisation may have.

The oldest of them are forgotten once a minute (`runs/pruning.py`). In between a process adds no more than may be kept
in all, so that an organisation never has more than twice that, however much its agents do.

A long conversation's requests begin alike. One in `MOST_ON_BASE` is kept whole, and of the others what comes behind the
part that they share with it; else a turn with 400 messages in context would write 150 kB each time. When the whole one
is forgotten, those that are left of the others cannot be read any more.
"""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from folkmoot.agents.steps import KeptTrace
from folkmoot.memory.deltas import common_prefix
from folkmoot.models.prompt import Prompt, Reply
from folkmoot.settings import Settings

LARGEST = 2_000_000
"""Characters of one trace with `recent`; a longer one is not kept."""

SHORTEST_SHARED = 10_000
"""Characters that requests have to share for it to be worth it."""

MOST_ON_BASE = 20
"""Requests that are kept as what they add to one."""

BASE_SECONDS = 3600.0
"""How long a request is one that others add to."""

BASE_CHARACTERS = 4_000_000
"""Characters of such requests, of all conversations, that a process has at hand."""


@dataclass(slots=True)
class _Base:
    """A request that is kept whole, and how many others add to it."""

    step_id: str
    request: str
    until: float
    others: int = 0


class TraceKeeping:
    """What this process has kept since the oldest traces were last forgotten."""

    def __init__(self, settings: Settings) -> None:
        """Keep what `settings` say."""
        self._which = settings.trace
        self._most = settings.recent_traces_size
        self._added: Counter[str] = Counter()
        self._bases: OrderedDict[str, _Base] = OrderedDict()

    def kept(self, organization_id: str, conversation_id: str, prompt: Prompt, reply: Reply) -> KeptTrace | None:
        """Return the trace of a model call as it is to be stored, or None when it is not to be kept.

        It is in the provider's own JSON. Of a stream only the request is known so, of the offline model neither.

        Args:
            organization_id: whose it is.
            conversation_id: in which conversation the call was made.
            prompt: what was asked, where the provider's own request is not known.
            reply: what was answered, with the provider's request.
        """
        if not self.keeps_any:
            return None
        told = reply.trace or {}
        request = told.get("request") or json.dumps(asdict(prompt))
        response = told.get("response") or json.dumps(_own_words(reply))
        return self.kept_as_sent(organization_id, conversation_id, request, response)

    @property
    def keeps_any(self) -> bool:
        """Whether there are traces at all."""
        return self._which != "off"

    def kept_as_sent(self, organization_id: str, conversation_id: str, request: str, response: str) -> KeptTrace | None:
        """Return a trace as it is to be stored, or None when it is not to be kept.

        Args:
            organization_id: whose it is.
            conversation_id: in which conversation the call was made.
            request: what was sent, as JSON.
            response: what was answered, as JSON.
        """
        if self._which == "recent" and len(request) + len(response) > LARGEST:
            return None
        kept = self._without_shared(conversation_id, request, response)
        if self._which == "recent":
            if self._added[organization_id] + kept.size > self._most:
                return None
            self._added[organization_id] += kept.size
        return kept

    def stored(self, conversation_id: str, step_id: str, trace: KeptTrace | None) -> None:
        """Note that a trace is stored: others may add to it if it is whole, and long."""
        if trace is None:
            return
        if trace.base_step_id is not None:
            base = self._bases.get(conversation_id)
            if base is not None:
                base.others += 1
        elif len(trace.request) >= SHORTEST_SHARED:
            self._bases[conversation_id] = _Base(step_id, trace.request, time.monotonic() + BASE_SECONDS)
            self._bases.move_to_end(conversation_id)
            while sum(len(base.request) for base in self._bases.values()) > BASE_CHARACTERS:
                self._bases.popitem(last=False)

    def forget_added(self) -> None:
        """Begin to count anew: the oldest have been forgotten."""
        self._added.clear()

    def _without_shared(self, conversation_id: str, request: str, response: str) -> KeptTrace:
        base = self._bases.get(conversation_id)
        if base is None or base.others >= MOST_ON_BASE or time.monotonic() >= base.until:
            return KeptTrace(request, response)
        shared = common_prefix(base.request, request)
        if shared < max(SHORTEST_SHARED, len(request) // 2):
            return KeptTrace(request, response)
        return KeptTrace(request[shared:], response, base.step_id, shared)


def _own_words(reply: Reply) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(reply).items() if name != "trace"}
