"""How times, numbers, edits and authors are put into words."""

from __future__ import annotations

from typing import Any

GLOBALS: dict[str, Any] = {}
FILTERS: dict[str, Any] = {}
