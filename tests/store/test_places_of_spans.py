"""A transaction's work is done at the place in the trace that it was asked for at, whichever task does it."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import context

from folkmoot import tracing
from folkmoot.store.engine import Store, Transaction


async def test_work_that_commits_together_keeps_its_own_place(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_tracing", object())  # on; no span is begun

    async def see(_: Transaction) -> object:
        return context.get_value("asked by")

    async def ask(who: str) -> object:
        context.attach(context.set_value("asked by", who))
        return await opened.write(see)

    assert await asyncio.gather(*map(ask, "abc")) == ["a", "b", "c"]
