"""What the pages show as code: it is code, and what only reads runs as it stands."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import httpx
import pytest

from support.fixtures import NewAgent, NewBlock

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

CALLS = re.compile(r'aria-label="([^"]+), (curl|Python)"><code>(.*?)</code>', re.DOTALL)


def test_what_is_shown_as_code_works(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO hello"}).raise_for_status()
    run = http.get("/v1/runs", params={"agent_id": agent.id}).json()[0]["id"]
    ran = 0
    for path in ("/", f"/blocks/{block.id}", f"/agents/{agent.id}", "/runs", f"/runs/{run}", "/blocks/new",
                 "/agents/new"):  # fmt: skip
        text = http.get(path).text
        connect = re.search(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)
        assert connect, path
        names: dict[str, Any] = {}
        exec(html.unescape(connect[1]), names)
        found = CALLS.findall(text)
        assert found, path
        for title, language, code in found:
            code = html.unescape(code)
            if language == "Python":
                compile(code, title, "exec")
                if re.search(r"\.(list|retrieve|get)\(", code):
                    exec(code, names)
                    ran += 1
            elif " -X " not in code:
                address = next(word for word in shlex.split(code) if word.startswith("http"))
                with httpx.stream("GET", address) as response:
                    assert response.status_code == 200, code
        names["client"].close()
    assert ran >= 10
