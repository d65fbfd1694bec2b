"""Reading what a program said of itself, believing nothing but that it is bytes."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from folkmoot.sandbox.calls import Call, Exceeded, Result

_MOST_DEPTH = 100


def read_result(call: Call, report: dict[str, Any], pieces: list[bytes]) -> Result:
    """Return what came of a call, by its guard's report and the bytes that it read: printed, complained, said."""
    said = pieces[2]
    result = partial(Result, stdout=_text(pieces[0]), stderr=_text(pieces[1]))
    if report["exceeded"] is not None:
        exceeded = cast(Exceeded, report["exceeded"])
        return result("ended", error=_ENDED[exceeded].format(**asdict(call.limits)), exceeded=exceeded)
    if not said:
        ending: int = report["ending"]
        how = f"by {signal.Signals(-ending).name}" if ending < 0 else f"with exit code {ending}"
        return result("ok") if ending == 0 else result("ended", error=f"the program ended {how}")
    try:
        answer = json.loads(said, parse_constant=str)
        value, error, out_of_memory = _clean(answer.get("value")), answer.get("error"), "exceeded" in answer
    except (ValueError, RecursionError, AttributeError):
        return result("error", error="what the program returned is not JSON, or is nested too deeply")
    if error is None:
        return result("ok", value)
    return result(
        "error", error=_text(str(error).encode(errors="replace")), exceeded="memory" if out_of_memory else None
    )


_ENDED = {
    "time": "it took more than {seconds:g} seconds and was ended",
    "cpu": "it used more than {cpu_seconds} seconds of a processor and was ended",
    "memory": "it used more than {memory} bytes of memory and was ended",
    "processes": "it had more than {processes} threads and was ended",
    "output": "it printed more than {output} bytes and was ended",
    "value": "it returned more than {value} bytes as JSON and was ended",
}


def _text(data: bytes) -> str:
    """Return bytes as text that every store can keep."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def _clean(value: Any, depth: int = 0) -> Any:
    """Return JSON data whose texts every store can keep.

    Raises:
        ValueError: it is nested too deeply.
    """
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return _text(value.encode(errors="replace"))
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item, depth + 1) for name, item in value.items()}
    return value
