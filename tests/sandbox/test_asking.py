"""Code that asks the server while it runs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, get_args

import pytest

from folkmoot.sandbox.answering import MOST_QUESTIONS
from folkmoot.sandbox.calls import Call, Limits, Mode
from folkmoot.sandbox.sandbox import Sandbox
from sandbox.conftest import Running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")

LIMITS = Limits(seconds=20.0)
ADAPTER = "SCOPE = {'ask': ask}"


async def twice(question: Any) -> Any:
    """Answer with the question, two times."""
    return [question, question]


@pytest.mark.parametrize("mode", ["strict", "trusted"])
def test_what_code_asks_is_answered_in_turn(mode: Mode, run: Running) -> None:
    assert mode in get_args(Mode)
    call = Call("[ask(n) for n in ('a', {'b': None})]", adapter=ADAPTER, answer=twice, limits=LIMITS)
    assert run(call, mode).value == [["a", "a"], [{"b": None}, {"b": None}]]


def test_threads_ask_one_after_the_other(run: Running) -> None:
    source = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n    told = list(pool.map(ask, range(200)))\n"
        "told == [[n, n] for n in range(200)]"
    )
    assert run(Call(source, adapter=ADAPTER, answer=twice, limits=LIMITS)).value is True


def test_who_asks_too_often_is_not_answered_any_more(run: Running) -> None:
    source = (
        "n = 0\ntry:\n    while True:\n        ask(n)\n        n += 1\n"
        "except ConnectionError as error:\n    print(error)\nn"
    )
    result = run(Call(source, adapter=ADAPTER, answer=twice, limits=LIMITS))
    assert (result.value, result.stdout) == (MOST_QUESTIONS, "nobody answers any more\n")


def test_what_is_too_long_is_told_and_the_next_question_is_answered(run: Running) -> None:
    source = "try:\n    ask('x' * 1_000_000)\nexcept ValueError as error:\n    print(error)\nask(1)"
    result = run(Call(source, adapter=ADAPTER, answer=twice, limits=LIMITS))
    assert result.stdout == "this takes 1,000,002 bytes as JSON; at most 1,000,000 can be passed\n"
    assert result.value == [1, 1]


@pytest.mark.parametrize("spare", [False, True])
def test_code_that_may_not_ask_has_no_socket(spare: bool, run: Running) -> None:
    if spare:  # a guard that waits for a next call of the same kind was not made for one that asks
        run(Call("ask(1)", adapter=ADAPTER, answer=twice, limits=LIMITS))
    source = (
        "import os, stat\nfound = []\nfor number in range(64):\n    try:\n"
        "        found.append(stat.S_ISSOCK(os.fstat(number).st_mode))\n    except OSError:\n        pass\nany(found)"
    )
    assert run(Call(source, limits=LIMITS)).value is False
    assert run(Call(source, adapter=ADAPTER, answer=twice, limits=LIMITS)).value is True


def test_calls_that_wait_for_each_others_answers_do_not_hold_each_other_up(run: Running) -> None:
    """All places are taken by calls whose answers are calls themselves."""
    places = 2
    sandbox = Sandbox("strict", running=places)
    everybody_asks = asyncio.Barrier(places)

    async def answer(question: Any) -> Any:
        await everybody_asks.wait()
        return (await sandbox.run(Call(f"{question} + 1", limits=LIMITS))).value

    asking = [Call(f"ask({number})", adapter=ADAPTER, answer=answer, limits=LIMITS) for number in range(places)]
    assert [result.value for result in run.all(sandbox, asking)] == [1, 2]


def test_an_answer_that_takes_too_long_is_given_up_with_the_call(run: Running) -> None:
    ended: list[bool] = []

    async def never(_: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    result = run(Call("ask(1)", adapter=ADAPTER, answer=never, limits=Limits(seconds=1.0)))
    assert (result.status, result.exceeded, ended) == ("ended", "time", [True])
