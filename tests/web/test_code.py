"""What the pages show as code: it is code, and what only reads runs as it stands."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
import subprocess
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from folkmoot.web.code import Call, agent_calls, connect, literal, new_agent_calls
from support.fixtures import NewAgent, NewBlock

CALLS = re.compile(r'aria-label="([^"]+), (curl|Python)"><code>(.*?)</code>', re.DOTALL)


ANY_TEXT = st.text(st.characters(exclude_categories=()))
QUOTES = """'"$(touch x)`id`\\\n\r\u2028\\u0041 ${HOME} !! größer 👋"""


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_what_is_shown_as_code_works(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO hello"}).raise_for_status()
    run = http.get("/v1/runs", params={"agent_id": agent.id}).json()[0]["id"]
    ran = 0
    for path in ("/", f"/blocks/{block.id}", f"/agents/{agent.id}", "/runs", f"/runs/{run}", "/blocks/new",
                 "/agents/new", "/settings", f"/agents/{agent.id}/settings",
                 f"/blocks/{block.id}/settings"):  # fmt: skip
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


@given(ANY_TEXT)
@example(QUOTES)
def test_a_text_in_the_python_shown_is_that_text(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text
    assert literal(text).isprintable()
    calls = {call.title: call.python for call in [*agent_calls("agent-1", text), *new_agent_calls(text)]}
    for title in ("Change its settings", "Create an agent"):
        (said,) = ast.parse(calls[title]).body
        assert isinstance(said, ast.Expr)
        assert isinstance(said.value, ast.Call)
        assert {word.arg: ast.literal_eval(word.value) for word in said.value.keywords}["model"] == text
    made = ast.parse(connect(text, with_key=False)).body[-1]
    assert isinstance(made, ast.Assign)
    assert isinstance(made.value, ast.Call)
    assert ast.literal_eval(made.value.keywords[0].value) == text


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example(QUOTES, QUOTES)
def test_the_command_shown_hands_curl_what_it_should(text: str, word: str) -> None:
    call = Call("Say it", "PATCH", f"/v1/x?word={word}", "", {"model": text}, {"If-Match": word})
    command = "curl() { printf '%s\\0' \"$@\"; }\n" + call.curl("http://127.0.0.1:8283", with_key=True)
    ran = subprocess.run(["sh", "-eu"], input=command.encode(), capture_output=True, env={"FOLKMOOT_API_KEY": "k"})
    assert (ran.returncode, ran.stderr) == (0, b"")
    method, address, *rest = ran.stdout.decode().split("\0")[1:-1]
    assert (method, address) == ("PATCH", f"http://127.0.0.1:8283/v1/x?word={word}")
    assert rest[:-1] == [
        "-H", "Authorization: Bearer k", "-H", f"If-Match: {word}", "-H", "Content-Type: application/json", "-d",
    ]  # fmt: skip
    assert json.loads(rest[-1]) == {"model": text}
