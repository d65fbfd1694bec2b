"""Runs a Python program whose clock is some seconds ahead: `other_clock.py SECONDS python -m MODULE ARGUMENT…`."""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    """Set the clock, and take the program's place."""
    ahead = int(sys.argv[1])
    time_ns, seconds = time.time_ns, time.time
    time.time_ns = lambda: time_ns() + ahead * 10**9
    time.time = lambda: seconds() + ahead
    module, sys.argv = sys.argv[4], sys.argv[4:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
