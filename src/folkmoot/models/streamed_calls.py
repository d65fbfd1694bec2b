"""The calls of one streamed chat, put together of pieces that servers send in many ways.

Each call gets an index of its own, and its pieces a form that adds up, with or without an index and an id.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_NOTHING = "{}"


@dataclass(slots=True)
class _Call:
    """A call that is being streamed."""

    index: int
    id: str | None = None
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    """Of its arguments, so far."""

    has_none: bool = False
    """Whether the arguments so far are `{}`."""

    twin: _Call | None = None
    """An earlier call of the same id; this one is held back, until all of it tells whether it is that one again."""

    @property
    def text(self) -> str:
        """Its arguments so far."""
        return _NOTHING if self.has_none else "".join(self.pieces)

    def learn(self, name: str) -> str:
        """Return what a name adds to the one that is known; some servers send the whole of it with every piece."""
        if self.pieces or self.has_none or name == self.name:
            return ""
        more = name.removeprefix(self.name)
        self.name += more
        return more

    def add(self, piece: str) -> str:
        """Return what of a piece of the arguments is passed on.

        That there are none is told by silence: some servers begin every call with `{}`, and send the real ones then.
        """
        self.has_none = not self.pieces and piece.strip() == _NOTHING
        if self.has_none:
            return ""
        self.pieces.append(piece)
        return piece

    def is_whole(self) -> bool:
        """Tell whether the arguments so far are a JSON object."""
        last = next((piece for piece in reversed(self.pieces) if piece.strip()), "")
        return self.has_none or (last.rstrip().endswith("}") and _read(self.text) is not None)


class StreamedCalls:
    """The calls of one answer."""

    def __init__(self) -> None:
        self._at: dict[Any, list[_Call]] = {}
        self._all: list[_Call] = []

    @property
    def begun(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    def mended(self, pieces: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the pieces of a chunk, mended; those of a call that is held back are left out."""
        mended = [self._piece(piece) for piece in pieces if isinstance(piece, dict)]
        return [piece for piece in mended if piece is not None]

    def rest(self) -> list[dict[str, Any]]:
        """Return the calls that were held back and are none of those before, each as one piece."""
        pieces = []
        for call in self._all:
            if call.twin is None:
                continue
            if call.text.startswith(call.twin.text):
                index, more = call.twin.index, call.text[len(call.twin.text) :]
                pieces += [{"index": index, "function": {"arguments": more}}] if more else []
            elif not call.twin.text.startswith(call.text):
                function = {"name": call.name, "arguments": call.text}
                pieces.append({"index": call.index, "id": call.id, "type": "function", "function": function})
        return pieces

    def are_whole(self) -> bool:
        """Tell whether nothing is missing of any."""
        return all(call.name and (not call.pieces or call.is_whole()) for call in self._all)

    def _piece(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        function = piece.get("function")
        if not isinstance(function, dict):
            function = {}
        name, arguments = function.get("name") or "", function.get("arguments")
        text = arguments if isinstance(arguments, str) or arguments is None else json.dumps(arguments)
        call_id = str(piece["id"]) if piece.get("id") not in (None, "") else None
        call = self._call_of(piece.get("index"), call_id, name, text or "")
        if call is None:
            return None
        mended = {**piece, "index": call.index}
        call.id = call.id or call_id
        if call_id is not None:
            mended["id"] = call_id if call_id == call.id else None
        if function:
            mended["function"] = {**function, "arguments": text}
        if name:
            mended["function"]["name"] = call.learn(name) or None
        if text:
            mended["function"]["arguments"] = call.add(text)
        return mended if call.twin is None else None

    def _call_of(self, place: Any, call_id: str | None, name: str, text: str) -> _Call | None:
        """Return the call that a piece belongs to; None for a piece that says a whole call again.

        New is a call with a name and another id, or behind a whole one.
        """
        calls = self._at.setdefault(place if isinstance(place, int) else None, [])
        known = [call for call in calls if call_id is not None and call.id == call_id]
        if known:
            last = known[-1]
            again = name and _read(text) is not None and not last.has_none and last.is_whole()
            if not again:
                return last
            return None if any(_read(call.text) == _read(text) for call in known) else self._new(calls)
        newest = calls[-1] if calls else None
        if newest is not None:
            another = name and call_id is not None and newest.id is not None
            follows = name and call_id is None and text and newest.is_whole()
            if not (another or follows):
                return newest
        same = (call for call in self._all if call_id is not None and call.id == call_id and call.name == name)
        return self._new(calls, twin=next(same, None))

    def _new(self, calls: list[_Call], twin: _Call | None = None) -> _Call:
        call = _Call(len(self._all), twin=twin)
        calls.append(call)
        self._all.append(call)
        return call


def _read(text: str) -> dict[str, Any] | None:
    """Return arguments that are whole, a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
