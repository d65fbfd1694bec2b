"""Packages that take long to load, and are loaded in threads when first used: one thread at a time.

Of two threads that load parts of one package whose modules import each other, one is shown a module that is half
loaded, since the interpreter does not let them wait for each other for ever; its import then fails.
"""

from __future__ import annotations

import threading
from importlib import import_module
from types import ModuleType

LOADING = threading.RLock()
"""Held by who loads; not in the event loop's thread, which would wait."""


def load(*names: str) -> ModuleType:
    """Load modules, and return the last one."""
    with LOADING:
        return [import_module(name) for name in names][-1]
