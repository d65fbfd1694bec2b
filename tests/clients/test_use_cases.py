"""The tutorial's use cases do what they say, in Python and TypeScript, with the offline model and one behind an API."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_tutorial import EXAMPLES, run, tsx

from folkmoot.demo import EXAMPLES as USE_CASES
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

OFFLINE = "offline/notetaker"
MOST_LINES = 79


def command(name: str, language: str) -> list[str]:
    """Return how to run an example."""
    return (
        [sys.executable, str(EXAMPLES / f"{name}.py")] if language == "python" else tsx(f"{name}.ts", "tsconfig.1.json")
    )


def in_each(name: str, *stores: str) -> pytest.MarkDecorator:
    """Run a test with an example in both languages; on other stores than SQLite where they matter."""
    ways = [("python", "sqlite"), ("typescript", "sqlite"), *(("python", store) for store in stores)]
    return pytest.mark.parametrize(
        ("program", "store"),
        [pytest.param((name, language), store, id=f"{language}-{store}") for language, store in ways],
        indirect=True,
    )


@pytest.fixture
def program(request: pytest.FixtureRequest) -> list[str]:
    """The command that runs the example in a language."""
    return command(*request.param)


def newest_block(http: httpx.Client, label: str) -> dict[str, Any]:
    """Return the block of that label that was made last."""
    block: dict[str, Any] = http.get("/v1/blocks", params={"label": label, "order": "desc"}).json()[0]
    return block


def versions(http: httpx.Client, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every version of a block with its text, the first first."""
    path = f"/v1/blocks/{block['id']}/history"
    return [http.get(f"{path}/{number}").json() for number in range(1, block["version"] + 1)]


def printed_block(output: str, label: str) -> str:
    """Return a block's text as the example printed it."""
    return output.partition(f"==== {label} ====\n")[2].partition("\n====")[0].strip()


@in_each("research_team")
def test_a_research_team_fills_one_block(
    program: list[str], server: ServerProcess, http: httpx.Client, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    output = run(program, server, tmp_path, FOLKMOOT_MODEL=OFFLINE)
    block = newest_block(http, "findings")
    lines = http.get(f"/v1/blocks/{block['id']}/blame").json()["lines"]
    assert {line["author"]["name"] for line in lines} == {"historian", "engineer", "librarian"}
    assert (len(lines), block["version"]) == (3, 4), "nobody's line is lost"
    shown = [f"{line['author']['name']} in version {line['version']}: {line['text']}" for line in lines]
    assert printed_block(output, "findings") == "\n".join(shown)
    assert "calls web_search" in output
    assert scripted_model.requests == []


@in_each("research_team")
def test_the_same_program_works_with_a_model_behind_an_api(
    program: list[str], server: ServerProcess, http: httpx.Client, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    for number in range(3):
        arguments = json.dumps({"label": "findings", "new_string": f"finding {number}"})
        call = {"name": "memory_insert", "arguments": arguments}
        tool_call = {"id": f"call_{number}", "type": "function", "function": call}
        scripted_model.reply_next({"content": None, "tool_calls": [tool_call]})
    for _ in range(3):
        scripted_model.reply_next({"content": "It is noted."})
    output = run(program, server, tmp_path, FOLKMOOT_MODEL="openai/gpt-4o-mini")
    assert sorted(newest_block(http, "findings")["value"].splitlines()) == ["finding 0", "finding 1", "finding 2"]
    assert output.count("It is noted.") == 3


@in_each("policy_board")
def test_policies_hold_for_every_agent_and_only_their_owner_changes_them(
    program: list[str], server: ServerProcess, http: httpx.Client, tmp_path: Path
) -> None:
    output = run(program, server, tmp_path, FOLKMOOT_MODEL=OFFLINE)
    before, after = output.split("The owner changed 14 days to 30 days.")
    for name in ("support", "sales"):
        assert re.search(rf"^{name}: .*within 14 days", before, re.MULTILINE)
        assert re.search(rf"^{name}: .*within 30 days", after, re.MULTILINE)
    assert "sales: calls memory_insert(" in before
    assert "sales: refused: Block 'policies' is read-only" in before
    assert "The block is unchanged: True" in before.replace("true", "True")
    block = newest_block(http, "policies")
    assert block["read_only"]
    assert [each["author"]["type"] for each in versions(http, block)] == ["api", "api"]
    assert printed_block(output, "policies") == block["value"]
    assert "30 days" in block["value"]


@in_each("task_coordination", "postgres")
def test_no_claim_is_lost_and_none_is_made_twice(
    program: list[str], server: ServerProcess, http: httpx.Client, tmp_path: Path
) -> None:
    output = run(program, server, tmp_path, FOLKMOOT_MODEL=OFFLINE)
    block = newest_block(http, "tasks")
    claims, reports = [], []
    texts = versions(http, block)
    for before, after in pairwise(texts):
        (old, new), *others = [
            pair for pair in zip(before["value"].splitlines(), after["value"].splitlines(), strict=True)
            if pair[0] != pair[1]
        ]  # fmt: skip
        assert others == [], "an edit changed more than its own line"
        name, task = after["author"]["name"], new.partition("] ")[2]
        if old == f"[ ] {task}" and new == f"[{name}] {task}":
            claims.append((name, task))
        elif old == f"[{name}] {task}" and new == f"[done by {name}] {task}":
            reports.append((name, task))
        else:
            pytest.fail(f"{name} made {new!r} of {old!r}")
    tasks = [line.partition("] ")[2] for line in texts[0]["value"].splitlines()]
    assert sorted(task for _, task in claims) == sorted(tasks), "each is claimed once"
    assert sorted(reports) == sorted(claims), "whoever claimed it reports it"
    assert re.search(r"^6 of 6 tasks are done; \d+ claims came too late", output, re.MULTILINE)
    assert {f"{name}: claimed '{task}'" for name, task in claims} <= set(output.splitlines())


@in_each("specialists")
def test_specialists_pass_on_what_they_found(
    program: list[str], server: ServerProcess, http: httpx.Client, tmp_path: Path
) -> None:
    output = run(program, server, tmp_path, FOLKMOOT_MODEL=OFFLINE)
    blocks = [newest_block(http, label) for label in ("findings", "analysis", "report")]
    findings, analysis, report = (set(block["value"].splitlines()) for block in blocks)
    assert (len(findings), len(analysis), len(report)) == (3, 2, 1)
    assert report < analysis < findings, "each passes on a part of what the one before it found"
    for block, writer in zip(blocks, ("researcher", "analyst", "writer"), strict=True):
        assert {each["author"]["name"] for each in versions(http, block)[1:]} == {writer}
        assert printed_block(output, block["label"]) == block["value"]
    (analyst,) = [each for each in http.get(f"/v1/blocks/{blocks[0]['id']}/agents").json() if each["name"] == "analyst"]
    held = http.get(f"/v1/agents/{analyst['id']}/core-memory/blocks").json()
    assert {each["label"]: each["access"] for each in held} == {"analysis": "write", "findings": "read"}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_an_agent_from_elsewhere_and_one_of_the_server_share_decisions(
    server: ServerProcess, http: httpx.Client, tmp_path: Path
) -> None:
    output = run([sys.executable, str(EXAMPLES / "shared_decisions.py")], server, tmp_path, FOLKMOOT_MODEL=OFFLINE)
    block = newest_block(http, "decisions")
    lines = http.get(f"/v1/blocks/{block['id']}/blame").json()["lines"]
    assert {(line["author"]["type"], line["author"]["name"]) for line in lines} == {
        ("member", "coder"),
        ("agent", "research"),
    }
    assert "coder: replace(label, old_string, new_string): No replacement was performed" in output
    assert all(line["text"] in printed_block(output, "decisions") for line in lines)


@pytest.mark.parametrize("name", USE_CASES)
def test_an_example_is_short(name: str) -> None:
    for suffix in (".py", ".ts"):
        assert len((EXAMPLES / f"{name}{suffix}").read_text().splitlines()) <= MOST_LINES, name + suffix
