"""What a client is told when the model's provider fails, and that nothing secret shows on the way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from letta_client import APIStatusError, Letta
from letta_client.types import AgentState

from support.clients import official_client
from support.fixtures import MODEL, MODELS, NewAgent, NewBlock, StartServer, each_wire
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

TITLES = {MODELS["openai"]: "OpenAI", MODELS["anthropic"]: "Anthropic"}
KEY = "sk-proj-never-to-be-seen-0123456789"
OVERFLOW = "This model's maximum context length is 128000 tokens."


def fail_by_status(status: int) -> Any:
    return lambda model: model.fail_next(status, times=20)


FAULTS = [
    pytest.param(fail_by_status(401), 502, 1, id="refused key"),
    pytest.param(fail_by_status(403), 502, 1, id="forbidden"),
    pytest.param(fail_by_status(404), 502, 1, id="unknown model"),
    pytest.param(fail_by_status(400), 502, 1, id="refused request"),
    pytest.param(fail_by_status(429), 429, 3, id="too many requests"),
    pytest.param(fail_by_status(500), 502, 3, id="error"),
    pytest.param(fail_by_status(503), 502, 3, id="away"),
    pytest.param(fail_by_status(529), 502, 3, id="overloaded"),
    pytest.param(lambda model: model.drop_next(20), 502, 3, id="dropped connection"),
    pytest.param(lambda model: model.nonsense_next(20), 502, None, id="nonsense"),
    pytest.param(
        lambda model: model.fail_next(400, 20, code="context_length_exceeded", message=OVERFLOW),
        400,
        None,
        id="overflow",
    ),
]


def say(client: Letta, agent: AgentState, text: str) -> Any:
    return client.agents.messages.create(agent.id, input=text)


@each_wire
@pytest.mark.parametrize(("fault", "status", "requests"), FAULTS)
def test_a_failing_provider_is_named_and_the_conversation_goes_on(
    client: Letta,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    model: str,
    fault: Any,
    status: int,
    requests: int | None,
) -> None:
    agent = new_agent()
    say(client, agent, "ECHO before")
    before = client.agents.messages.list(agent.id).items
    asked = len(scripted_model.requests)
    fault(scripted_model)
    with pytest.raises(APIStatusError) as failed:
        say(client, agent, "ECHO lost")
    assert failed.value.status_code == status
    detail = failed.value.response.json()["detail"]
    assert TITLES[model] in detail or model in detail
    assert requests in (None, len(scripted_model.requests) - asked)
    assert client.agents.messages.list(agent.id).items == before
    scripted_model.reset()
    assert say(client, agent, "ECHO after").messages[0].content == "after"
    texts = [message["content"] for message in scripted_model.conversations[0]]
    assert status == 400 or "ECHO before" in texts
    assert "ECHO lost" not in texts


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda model: model.fail_next(429, times=2), id="too many requests"),
        pytest.param(lambda model: model.fail_next(500, times=2), id="error"),
        pytest.param(lambda model: model.drop_next(2), id="dropped connection"),
    ],
)
def test_a_retry_that_helps_calls_each_tool_once(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel, fault: Any
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    fault(scripted_model)
    response = say(client, agent, f'CALL memory_insert {{"label": "{block.label}", "new_string": "once"}}')
    assert [m.message_type for m in response.messages] == [
        "tool_call_message",
        "tool_return_message",
        "assistant_message",
    ]
    assert client.blocks.retrieve(block.id).value == "once"
    assert response.usage.step_count == 2
    assert len(scripted_model.requests) == 4


def test_a_retry_in_a_later_step_does_not_repeat_the_steps_before(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    function = {
        "name": "memory_insert",
        "arguments": f'{{"label": "{block.label}", "new_string": "once"}}',
    }
    scripted_model.reply_next({"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]})
    scripted_model.fail_next(500, times=2)
    response = say(client, agent, "hello")
    assert response.usage.step_count == 2
    assert client.blocks.retrieve(block.id).value == "once"
    assert len(scripted_model.requests) == 4


@pytest.fixture
def secretive(start_server: StartServer, request: pytest.FixtureRequest) -> ServerProcess:
    """A server whose provider's key is worth keeping, at the log level that the test asks for, and impatient."""
    level = getattr(request, "param", "info")
    env = {"OPENAI_API_KEY": KEY, "FOLKMOOT_LOG_LEVEL": level, "FOLKMOOT_MODEL_TIMEOUT": "1"}
    return start_server(env={**env, "FOLKMOOT_MODEL_RETRIES": "1"})


def test_a_provider_that_never_answers_is_504(secretive: ServerProcess, scripted_model: ScriptedModel) -> None:
    with official_client(secretive.url) as client:
        agent = client.agents.create(model=MODEL)
        say(client, agent, "hello")  # the first question also loads the provider's package
        scripted_model.hang_next()
        with pytest.raises(APIStatusError) as failed:
            say(client, agent, "hello")
        assert failed.value.status_code == 504
        assert "FOLKMOOT_MODEL_TIMEOUT" in failed.value.response.json()["detail"]
        scripted_model.wait_for_disconnects(1)
        assert len(scripted_model.requests) == 2
        assert say(client, agent, "ECHO awake").messages[0].content == "awake"


def test_a_provider_that_is_not_there_is_502(start_server: StartServer) -> None:
    server = start_server(env={"OPENAI_BASE_URL": "http://user:pass@127.0.0.1:1/v1", "FOLKMOOT_MODEL_RETRIES": "0"})
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL)
        with pytest.raises(APIStatusError) as failed:
            say(client, agent, "hello")
        (run,) = client.runs.list(agent_id=agent.id)
    assert failed.value.status_code == 502
    told = re.escape(f"Run failed: ProviderError, for local (run_id={run.id}, agent_id={agent.id})")
    assert re.search(
        rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z WARNING [a-z.]+: {told}$", server.log(), re.MULTILINE
    )
    assert "127.0.0.1:1" in failed.value.response.json()["detail"]
    assert "pass" not in failed.value.response.text
    assert "user:pass" not in server.log()


@pytest.mark.parametrize("secretive", ["info", "debug"], indirect=True)
def test_neither_the_key_nor_what_was_said_is_ever_shown(
    secretive: ServerProcess, scripted_model: ScriptedModel, request: pytest.FixtureRequest
) -> None:
    level = request.node.callspec.params["secretive"]
    said = "my password is swordfish"
    answers = []
    with official_client(secretive.url) as client:
        agent = client.agents.create(model=MODEL, memory_blocks=[{"label": "human", "value": "likes marzipan"}])
        say(client, agent, f"ECHO {said}")
        say(client, agent, 'CALL memory_insert {"label": "human", "new_string": "hates marmalade"}')
        say(client, agent, 'CALL not_a_tool {"a": "swordfish"}')
        for status in (401, 400, 404, 429, 500):
            scripted_model.fail_next(status, times=2, message=f"Incorrect API key provided: {KEY}. No.")
            with pytest.raises(APIStatusError) as failed:
                say(client, agent, said)
            answers.append(failed.value.response.text)
        scripted_model.hang_next()
        scripted_model.nonsense_next(2)
        scripted_model.drop_next(2)
        for _ in range(3):
            with pytest.raises(APIStatusError) as failed:
                say(client, agent, said)
            answers.append(failed.value.response.text)
        answers.append(client.agents.with_raw_response.retrieve(agent.id).text())
    secretive.stop()
    assert scripted_model.received[0].headers["authorization"] == f"Bearer {KEY}"
    for text in (*answers, secretive.log()):
        assert KEY not in text
        assert "never-to-be-seen" not in text
    if level == "info":
        for word in ("swordfish", "marzipan", "marmalade"):
            assert word not in secretive.log()
