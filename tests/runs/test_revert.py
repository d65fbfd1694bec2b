"""A run's edits of memory, taken back as one; what others changed since is named and left."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from letta_client import Letta

from folkmoot.memory.undo import without
from runs.talking import ok, say, streaming
from support.fixtures import NewAgent, NewBlock, one_store
from support.scripted_model import ScriptedModel


def calls(*edits: tuple[str, dict[str, str]]) -> str:
    """Return what makes an agent call these tools, all in one step."""
    return f"CALLS {json.dumps([[name, arguments] for name, arguments in edits])}"


def run_of_turn(turn: dict[str, Any]) -> str:
    run_id: str = turn["messages"][0]["run_id"]
    return run_id


def revert(http: httpx.Client, run_id: str) -> dict[str, dict[str, Any]]:
    """Take a run back, and return what became of each block."""
    undone = ok(http.post(f"/v1/runs/{run_id}/revert"))
    assert undone["run_id"] == run_id
    return {block["block_id"]: block for block in undone["blocks"]}


def text(client: Letta, block_id: str) -> str:
    return client.blocks.retrieve(block_id).value


def test_all_edits_of_a_run_are_taken_back_and_those_of_others_stay(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    one, other = new_block(value="plan:"), new_block(value="a\nb\nc")
    untouched = new_block(value="as it was")
    agent = new_agent(block_ids=[one.id, other.id, untouched.id])
    script = "\nTHEN ".join(
        [
            calls(
                ("memory_insert", {"label": one.label, "new_string": "first"}),
                ("memory_replace", {"label": other.label, "old_string": "b", "new_string": "B"}),
            ),
            calls(("memory_insert", {"label": one.label, "new_string": "second"})),
        ]
    )
    run_id = run_of_turn(say(http, agent.id, script))
    ok(http.post(f"/v1/blocks/{one.id}/edits", json={"kind": "insert", "new_string": "by somebody else"}))
    assert text(client, one.id) == "plan:\nfirst\nsecond\nby somebody else"

    undone = revert(http, run_id)
    assert set(undone) == {one.id, other.id}
    assert (text(client, one.id), text(client, other.id)) == ("plan:\nby somebody else", "a\nb\nc")
    for block, wrote, now in ((one, [2, 3], 5), (other, [2], 3)):
        told = undone[block.id]
        assert (told["label"], told["run_versions"], told["reverted"], told["version"]) == (
            block.label,
            wrote,
            True,
            now,
        )
    (newest,) = ok(http.get(f"/v1/blocks/{one.id}/history", params={"limit": 1}))
    assert newest["edit"] == {"kind": "undo", "run_id": run_id}
    assert newest["author"]["type"] == "api"


def test_a_block_that_others_have_changed_in_the_same_place_is_named_and_left(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    overtaken, free = new_block(value="meet on Monday"), new_block(value="")
    agent, editor = new_agent(block_ids=[overtaken.id, free.id]), new_agent(block_ids=[overtaken.id], name="editor")
    replace = {"label": overtaken.label, "old_string": "Monday", "new_string": "Tuesday"}
    insert = {"label": free.label, "new_string": "noted"}
    run_id = run_of_turn(say(http, agent.id, calls(("memory_replace", replace), ("memory_insert", insert))))
    again = {"label": overtaken.label, "old_string": "Tuesday", "new_string": "Friday"}
    say(http, editor.id, calls(("memory_replace", again)))

    undone = revert(http, run_id)
    left = undone[overtaken.id]
    assert (left["reverted"], left["version"]) == (False, None)
    assert 'agent "editor"' in left["reason"]
    assert [(each["version"], each["author"]["name"]) for each in left["overtaken_by"]] == [(3, "editor")]
    assert text(client, overtaken.id) == "meet on Friday"
    assert undone[free.id]["reverted"]
    assert text(client, free.id) == ""

    assert revert(http, run_id)[free.id]["reverted"] is False, "what was taken back is not taken back twice"
    assert text(client, free.id) == ""


def test_a_block_that_the_run_made_is_left(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tools=["memory"], include_base_tools=False)
    make = {"command": "create", "path": "/memories/notes", "file_text": "new"}
    run_id = run_of_turn(say(http, agent.id, f"CALL memory {json.dumps(make)}"))
    (told,) = revert(http, run_id).values()
    assert (told["label"], told["reverted"]) == ("notes", False)
    assert "made this block" in told["reason"]


@one_store
def test_a_run_under_way_and_one_that_is_not_there_are_refused(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, streaming(http, agent.id, "hello") as reading:
        run_id = json.loads(reading.next())["run_id"]
        held.wait_for(1)
        refused = http.post(f"/v1/runs/{run_id}/revert")
        assert (refused.status_code, "Cancel it first" in refused.text) == (409, True)
        held.release()
        reading.rest()
    assert revert(http, run_id) == {}
    assert http.post("/v1/runs/run-00000000-0000-4000-8000-000000000000/revert").status_code == 404


LINES = st.lists(st.sampled_from("abc"), max_size=6)


@given(LINES, LINES, LINES, LINES, st.sampled_from("xyz"), st.randoms())
def test_what_is_taken_back_is_the_change_and_nothing_else(
    before: list[str], mine: list[str], between: list[str], theirs: list[str], changed: str, chance: random.Random
) -> None:
    """Somebody's lines become others, and behind or before them, with a line between, somebody else's do."""
    written, others = [changed, *mine[:1]], [changed * 2]
    if chance.random() < 0.5:
        old = [*before, *mine, "-", *between, *theirs]
        new = [*before, *written, "-", *between, *theirs]
        now, wanted = [*before, *written, "-", *between, *others], [*before, *mine, "-", *between, *others]
    else:
        old = [*theirs, "-", *between, *mine, *before]
        new = [*theirs, "-", *between, *written, *before]
        now, wanted = [*others, "-", *between, *written, *before], [*others, "-", *between, *mine, *before]
    assert without("\n".join(old), "\n".join(new), "\n".join(now)) == "\n".join(wanted)
    assert without("\n".join(old), "\n".join(new), "\n".join(new)) == "\n".join(old)
