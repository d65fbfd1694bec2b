"""What pydantic-ai loads although nothing of it is used here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

DOCSTRINGS = "pydantic_ai._griffe"
"""Where docstrings of its own function tools are read, with a package of 2 MB; ours are read in `tools/schema.py`."""


def leave_out() -> None:
    """Let pydantic-ai be imported without it: its function tools have no descriptions then, and nothing makes any.

    A test fails when it is asked for more than it gives. To be called before pydantic-ai is imported; afterwards it
    changes nothing.
    """
    if DOCSTRINGS not in sys.modules:
        stand_in: Any = ModuleType(DOCSTRINGS)
        stand_in.doc_descriptions = _no_descriptions
        sys.modules[DOCSTRINGS] = stand_in


def _no_descriptions(*_: Any, **__: Any) -> tuple[None, dict[str, str]]:
    return None, {}
