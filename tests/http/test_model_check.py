"""A question of one line to a model: what it answered, or what is wrong."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from assertions import assert_error

from folkmoot.errors import ProviderTimeout
from folkmoot.models import checking
from folkmoot.models.prompt import Prompt, Reply
from support.fixtures import MODEL, one_store
from support.scripted_model import ScriptedModel


@one_store
def test_a_model_that_answers_is_there(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    checked = http.post("/v1/models/check", json={"handle": MODEL}).raise_for_status().json()
    assert checked["handle"] == MODEL
    assert checked["answer"]
    assert checked["duration_ms"] >= 0
    sent = scripted_model.requests[-1]
    assert sent["model"] == MODEL.partition("/")[2]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["keep_note"]


@one_store
def test_what_is_wrong_with_a_model_is_said(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    scripted_model.fail_next(400, message="This model takes no tools.")
    assert_error(http.post("/v1/models/check", json={"handle": MODEL}), 502, "This model takes no tools.")
    assert_error(http.post("/v1/models/check", json={"handle": "groq/any"}), 404, "GROQ_API_KEY")
    assert_error(http.post("/v1/models/check", json={"handle": "any"}), 422, "provider/model")
    assert_error(http.post("/v1/models/check", json={}), 422, "handle")


def test_a_model_that_does_not_answer_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(handle: str, prompt: Prompt) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(checking, "PATIENCE", 0.01)
    with pytest.raises(ProviderTimeout, match="did not answer a question of one line"):
        asyncio.run(checking.check_model(silent, MODEL))
