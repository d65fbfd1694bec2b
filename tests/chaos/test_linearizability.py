"""Blocks are linearizable: what many clients did and saw at once could have been done one after the other.

The first half tests the checker itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count, permutations
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.conftest import Clients
from chaos.linearizability import (
    FOREVER,
    AddLine,
    BlockState,
    CompareAndSet,
    Operation,
    Read,
    Write,
    block_step,
    linearize,
)
from chaos.moot import assert_one_order, insertion, make_agents, make_block, ok, post, read, tool_returns, write

NEW: BlockState = (1, "")


# -- the checker ---------------------------------------------------------------------------------------------


def explained_by_brute_force(operations: Sequence[Operation]) -> bool:
    """Try every order of every choice of the operations that may not have been done."""
    unknown = [operation for operation in operations if operation.unknown]
    for chosen in range(1 << len(unknown)):
        left_out = {id(operation) for place, operation in enumerate(unknown) if not chosen >> place & 1}
        done = [operation for operation in operations if id(operation) not in left_out]
        if any(is_legal(order) for order in permutations(done)):
            return True
    return False


def is_legal(order: Sequence[Operation]) -> bool:
    """Tell whether the order keeps to the times and explains every outcome."""
    for place, operation in enumerate(order):
        if any(later.returned < operation.called for later in order[place:]):
            return False
    state: BlockState | None = NEW
    for operation in order:
        assert state is not None
        state = block_step(state, operation)
        if state is None:
            return False
    return True


texts = st.sampled_from(["a", "b"])
versions = st.integers(1, 4)
actions = st.one_of(
    st.tuples(st.just(Read()), st.tuples(versions, st.sampled_from(["", "a", "b", "a\nb"]))),
    st.tuples(texts.map(Write), versions),
    st.tuples(st.builds(CompareAndSet, versions, texts), st.tuples(st.booleans(), versions)),
    st.tuples(texts.map(AddLine), versions),
)


@st.composite
def any_histories(draw: st.DrawFn) -> list[Operation]:
    """Up to five operations with outcomes that may be impossible, at times that may overlap; some never answered."""
    operations = []
    for number in range(draw(st.integers(0, 5))):
        action, outcome = draw(actions)
        called = draw(st.integers(0, 8))
        if draw(st.integers(0, 5)):
            operations.append(Operation(f"c{number}", called, called + draw(st.integers(0, 6)), action, outcome))
        else:
            operations.append(Operation(f"c{number}", called, FOREVER, action))
    return operations


@st.composite
def legal_histories(draw: st.DrawFn) -> list[Operation]:
    """Operations done one after the other, each called some time before and returned some time after its moment."""
    state, operations = NEW, []
    for number in range(draw(st.integers(0, 25))):
        action: Any = draw(actions)[0]
        version, text = state
        outcome: Any = version + 1
        match action:
            case Read():
                outcome = state
            case Write(new):
                state = (version + 1, new)
            case CompareAndSet(expected, new):
                outcome = (expected == version, version + (expected == version))
                state = (version + 1, new) if expected == version else state
            case AddLine(line):
                state = (version + 1, f"{text}\n{line}" if text else line)
        if draw(st.integers(0, 9)) == 0:
            operations.append(Operation("c", number - draw(st.floats(0, 4)), FOREVER, action))
        else:
            early, late = draw(st.floats(0, 4)), draw(st.floats(0, 4))
            operations.append(Operation("c", number - early, number + late, action, outcome))
    return draw(st.permutations(operations))


@given(any_histories())
def test_the_checker_agrees_with_brute_force(operations: list[Operation]) -> None:
    order = linearize(NEW, block_step, operations)
    assert (order is not None) == explained_by_brute_force(operations)
    if order is not None:
        assert is_legal(order)
        assert sorted(map(id, order)) == sorted(map(id, operations))


@given(legal_histories())
def test_the_checker_accepts_legal_histories(operations: list[Operation]) -> None:
    assert linearize(NEW, block_step, operations) is not None


def test_the_checker_catches_a_stale_read() -> None:
    written = [Operation("a", 0, 1, Write("x"), 2), Operation("a", 2, 3, Write("y"), 3)]
    assert linearize(NEW, block_step, [*written, Operation("b", 2.5, 3.5, Read(), (2, "x"))]) is not None
    assert linearize(NEW, block_step, [*written, Operation("b", 4, 5, Read(), (3, "y"))]) is not None
    assert linearize(NEW, block_step, [*written, Operation("b", 4, 5, Read(), (2, "x"))]) is None


def test_the_checker_catches_a_read_that_goes_back() -> None:
    writing = Operation("a", 0, 10, Write("x"), 2)
    new, old = Operation("b", 1, 2, Read(), (2, "x")), Operation("b", 3, 4, Read(), (1, ""))
    assert linearize(NEW, block_step, [writing, new, old]) is None
    swapped = [Operation("b", 1, 2, Read(), (1, "")), Operation("b", 3, 4, Read(), (2, "x"))]
    assert linearize(NEW, block_step, [writing, *swapped]) is not None


def test_the_checker_catches_a_lost_update() -> None:
    inserts = [Operation("a", 0, 5, AddLine("x"), 2), Operation("b", 1, 6, AddLine("y"), 3)]
    assert linearize(NEW, block_step, [*inserts, Operation("c", 7, 8, Read(), (3, "x\ny"))]) is not None
    assert linearize(NEW, block_step, [*inserts, Operation("c", 7, 8, Read(), (3, "y"))]) is None
    both = [Operation("a", 0, 5, AddLine("x"), 2), Operation("b", 1, 6, AddLine("y"), 2)]
    assert linearize(NEW, block_step, both) is None


def test_the_checker_catches_two_winners_of_one_compare_and_set() -> None:
    both = [Operation(name, 0, 5, CompareAndSet(1, name), (True, 2)) for name in "ab"]
    assert linearize(NEW, block_step, both) is None
    one = [both[0], Operation("b", 0, 5, CompareAndSet(1, "b"), (False, 2))]
    assert linearize(NEW, block_step, one) is not None


def test_an_operation_nobody_heard_of_may_have_been_done_or_not() -> None:
    cut = Operation("a", 0, FOREVER, Write("x"))
    for outcome in (NEW, (2, "x")):
        assert linearize(NEW, block_step, [cut, Operation("b", 3, 4, Read(), outcome)]) is not None
    assert linearize(NEW, block_step, [cut, Operation("b", 3, 4, Read(), (2, "y"))]) is None


# -- blocks --------------------------------------------------------------------------------------------------


class Recorder:
    """Clients that do random things to blocks and write down what they did and saw.

    Times are the places in one sequence of calls and returns, taken in this process, so that they need no clock.
    """

    def __init__(self, seed: int, blocks: Sequence[dict[str, Any]]) -> None:
        self.random = Random(seed)
        self.blocks = blocks
        self.histories: dict[str, list[Operation]] = {block["id"]: [] for block in blocks}
        self._time = count()

    async def work(self, name: str, https: Sequence[httpx.AsyncClient], agent: dict[str, Any], turns: int) -> None:
        """Do `turns` things, each through another process; the agent makes the inserts."""
        seen: dict[str, int] = {}
        for turn in range(turns):
            block, http = self.random.choice(self.blocks), self.random.choice(https)
            text = f"{name}-{turn}"
            kind = self.random.choices(["read", "cas", "write", "insert"], [4, 4, 1, 2])[0]
            action: Any = {"read": Read(), "write": Write(text), "insert": AddLine(text)}.get(kind)
            if kind == "cas":
                action = CompareAndSet(seen.get(block["id"], 1), text)
            called = next(self._time)
            outcome = await self._do(http, block, agent, action)
            self.histories[block["id"]].append(Operation(name, called, next(self._time), action, outcome))
            match outcome:
                case (bool(), int(version)) | (int(version), str()) | int(version):
                    seen[block["id"]] = version

    async def _do(self, http: httpx.AsyncClient, block: dict[str, Any], agent: dict[str, Any], action: Any) -> Any:
        match action:
            case Read():
                now = await read(http, block)
                return now["version"], now["value"]
            case Write(text):
                return ok(await write(http, block, text))["version"]
            case CompareAndSet(expected, text):
                answer = await write(http, block, text, expected)
                if answer.status_code == 412:
                    return False, answer.json()["current_version"]
                return True, ok(answer)["version"]
            case _:
                turn = ok(await post(http, agent, insertion(block, action.line)))
                (returned,) = tool_returns(turn)
                assert returned["status"] == "success"
                return int(returned["tool_return"].split("version ")[1].split()[0])


async def record_and_check(
    https: Sequence[httpx.AsyncClient], seed: int, *, blocks: int, clients: int, turns: int
) -> None:
    made = [await make_block(https[0]) for _ in range(blocks)]
    agents = await make_agents(https[0], clients, *made)
    recorder = Recorder(seed, made)
    await asyncio.gather(*(recorder.work(f"c{n}", https, agent, turns) for n, agent in enumerate(agents)))
    for block in made:
        recorded = recorder.histories[block["id"]]
        assert linearize(NEW, block_step, recorded) is not None, (seed, recorded)
        await assert_one_order(https[0], block)
    everything = [operation for recorded in recorder.histories.values() for operation in recorded]
    assert len(everything) == clients * turns
    for kind in (Read, Write, CompareAndSet, AddLine):
        assert any(isinstance(operation.action, kind) for operation in everything)
    swaps = [operation.outcome[0] for operation in everything if isinstance(operation.action, CompareAndSet)]
    assert {True, False} == set(swaps)  # else the history says nothing about contention


async def test_a_recorded_history_is_linearizable(https: Clients) -> None:
    await record_and_check(https, 1, blocks=2, clients=8, turns=15)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(5))
async def test_long_recorded_histories_are_linearizable(https: Clients, seed: int) -> None:
    await record_and_check(https, seed, blocks=3, clients=16, turns=60)
