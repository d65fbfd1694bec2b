"""A database of each released version is opened by this one: nothing is lost, and its agents go on.

`released/README.md` tells what the databases are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from read_everything import read_everything, settled
from released_data import SECRET_KEY, VERSIONS, answers_of, restore, says

from support.clients import plain_client
from support.fixtures import StartServer
LONG = str(10**9)


def lost(recorded: Any, now: Any, where: str) -> Iterator[str]:
    """Yield what was answered before and is not now; keys that are new are no loss."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key, value in recorded.items():
            yield from lost(value, now.get(key, "nothing"), f"{where}.{key}")
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for number, (before, after) in enumerate(zip(recorded, now, strict=True)):
            yield from lost(before, after, f"{where}[{number}]")
    elif recorded != now:
        yield f"{where}: {recorded!r} became {now!r}"[:400]


@pytest.mark.parametrize("version", VERSIONS)
async def test_x(version: str, store: str, database_url: str, start_server: StartServer) -> None:
    await restore(version, store, database_url)
    server = start_server(env={"FOLKMOOT_SECRET_KEY": SECRET_KEY, "FOLKMOOT_KEEP_TRACES": LONG})
    with plain_client(server.url) as http:
        now = {}
        recorded = answers_of(version, store)
        recorded.pop("version")
        now = {}
        for path in recorded:
            a = http.get(path)
            now[path] = a.json() if a.status_code == 200 else f"{a.status_code} {a.text}"
        print(server.log()[-3000:])
        import collections
        import re
        c = collections.Counter()
        ex = {}
        for line in lost(recorded, now, ""):
            k = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\[\d+\]", "", line)[:200]
            c[k] += 1
            ex[k] = line
        for k, n in c.items():
            print(n, ex[k])
        for run in [p for p in recorded if p.startswith("/v1/runs/") and p.count("/") == 3][:8]:
            print(http.get(run + "/stream").text[:1500])
    assert 0
