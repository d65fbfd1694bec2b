"""OpenTelemetry: what a server that is told to by the usual variables sends, and what it keeps to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from folkmoot.tracing import is_wanted, why_not
from support.callbacks import listening
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import until
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

SECRET = "the harbour opens at dawn"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TURN = f'CALL memory_insert {{"label": "human", "new_string": "{SECRET}"}}'


@dataclass(frozen=True)
class Told:
    """A span as it was sent."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    links: Sequence[str]
    failed: bool


def sent(received: Queue[tuple[dict[str, str], bytes]]) -> tuple[list[Told], str]:
    """Return all spans, and all that was sent as text."""
    told, texts = [], ""
    while not received.empty():
        batch = ExportTraceServiceRequest.FromString(received.get()[1])
        texts += str(batch)
        for resource in batch.resource_spans:
            assert {each.key: each.value.string_value for each in resource.resource.attributes}[
                "service.name"
            ] == "moot"
            told += [_read(span) for scope in resource.scope_spans for span in scope.spans]
    return told, texts


def _read(span: Any) -> Told:
    attributes = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    links = [link.span_id.hex() for link in span.links]
    parent, failed = span.parent_span_id.hex(), span.status.code == 2
    return Told(span.name, span.trace_id.hex(), span.span_id.hex(), parent, attributes, links, failed)


def tracing(address: str, **more: str) -> Mapping[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_SERVICE_NAME": "moot", **more}


def talk(server: ServerProcess) -> str:
    """Let an agent edit its memory, as part of somebody's trace, and stop the server, which sends what is left."""
    with plain_client(server.url) as http:
        blocks = [{"label": "human", "value": "a", "limit": 1000}]
        fields = {"name": "Ada", "model": MODEL, "memory_blocks": blocks, "tools": ["memory_insert"]}
        agent = http.post("/v1/agents", json=fields).json()["id"]
        caller = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = http.post(f"/v1/agents/{agent}/messages", json={"input": TURN}, headers=caller)
        assert answer.status_code == 200, answer.text
        assert http.get("/v1/health").status_code == 200
        server.stop()
        return str(agent)


def test_a_turn_is_one_tree_under_its_caller(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    with listening() as (address, received):
        agent = talk(start_server(env=tracing(address)))
        spans, texts = sent(received)
    of_turn = [span for span in spans if span.trace == TRACE]
    names = {span.id: span.name for span in of_turn}
    model = MODEL.partition("/")[2]
    request = "POST /v1/agents/{agent_id}/messages"
    assert sorted((names.get(span.parent, "caller"), span.name) for span in of_turn) == sorted(
        [
            ("caller", request),
            (request, "invoke_agent Ada"),
            ("invoke_agent Ada", f"chat {model}"),
            ("invoke_agent Ada", "execute_tool memory_insert"),
            ("execute_tool memory_insert", "update_memory"),
            ("invoke_agent Ada", f"chat {model}"),
        ]
    )
    by_name = {span.name: span for span in of_turn}
    assert by_name[request].parent == CALLER
    assert by_name[request].attributes["http.response.status_code"] == 200
    turn, chat = by_name["invoke_agent Ada"].attributes, by_name[f"chat {model}"].attributes
    assert turn["gen_ai.agent.id"] == agent and turn["folkmoot.run.id"].startswith("run-")
    assert chat["gen_ai.operation.name"] == "chat" and chat["gen_ai.provider.name"] == "openai"
    assert chat["gen_ai.usage.input_tokens"] > 0 and turn["gen_ai.usage.output_tokens"] > 0
    tool = by_name["execute_tool memory_insert"].attributes
    assert tool["gen_ai.conversation.id"] == turn["gen_ai.conversation.id"] == chat["gen_ai.conversation.id"]
    assert tool["gen_ai.tool.call.id"] and tool["folkmoot.run.id"] == turn["folkmoot.run.id"]
    assert by_name["update_memory"].attributes["gen_ai.memory.record.id"].startswith("block-")
    assert not any(span.failed for span in spans)
    assert "create_memory" in {span.name for span in spans}
    assert not any("health" in span.name for span in spans)
    assert SECRET not in texts


@once
def test_what_is_said_is_told_only_when_asked_for(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    with listening() as (address, received):
        talk(start_server(env=tracing(address, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")))
        spans, _ = sent(received)
    content = {
        "gen_ai.input.messages": "chat",
        "gen_ai.output.messages": "chat",
        "gen_ai.tool.call.arguments": "execute_tool",
        "gen_ai.memory.records": "update_memory",
    }
    for name, operation in content.items():
        of_operation = [each.attributes for each in spans if each.attributes.get("gen_ai.operation.name") == operation]
        assert any(SECRET in attributes.get(name, "") for attributes in of_operation), name


@once
def test_failures_streams_searches_and_turns_in_the_background(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    with listening() as (address, received):
        server = start_server(env=tracing(address))
        with plain_client(server.url) as http:
            agent = http.post("/v1/agents", json={"name": "Ada", "model": MODEL}).json()["id"]
            path = f"/v1/agents/{agent}/messages"
            scripted_model.fail_next(400)
            assert http.post(path, json={"input": "ECHO a"}).status_code >= 500
            search = 'CALL conversation_search {"query": "harbour"}'
            assert "message_type" in http.post(f"{path}/stream", json={"input": search}).text
            run = http.post(f"{path}/async", json={"input": "ECHO b"}).json()["id"]
            until(lambda: http.get(f"/v1/runs/{run}").json()["status"] == "completed")
            embedding = {"name": "texts", "embedding": "openai/text-embedding-3-small"}
            archive = f"/v1/archives/{http.post('/v1/archives', json=embedding).json()['id']}"
            http.post(f"{archive}/passages", json={"text": SECRET})
            until(lambda: http.get(archive).json()["embedded_count"] == 1)
            block = http.post("/v1/blocks", json={"label": "human", "value": "a"}).json()["id"]
            assert http.delete(f"/v1/blocks/{block}").status_code == 200
            server.stop()
        spans, _ = sent(received)
    by_id = {span.id: span for span in spans}

    def above(span: Told) -> list[str]:
        return [span.name] + (above(by_id[span.parent]) if span.parent else [])

    failed = [span for span in spans if span.failed]
    assert [span.name.split()[0] for span in sorted(failed, key=lambda span: span.name)] == [
        "POST",
        "chat",
        "invoke_agent",
    ]
    assert all("error.type" in span.attributes for span in failed)
    (embedded,) = [span for span in spans if span.name == "embeddings text-embedding-3-small"]
    (job,) = [span for span in spans if span.name == "job embed_archive"]
    assert (embedded.parent, job.parent, embedded.attributes["gen_ai.provider.name"]) == (job.id, "", "openai")
    (deleted,) = [span for span in spans if span.name == "delete_memory"]
    assert above(deleted)[1:] == ["DELETE /v1/blocks/{block_id}"]
    assert deleted.attributes["gen_ai.memory.record.id"] == block
    (search_span,) = [span for span in spans if span.name == "search_memory"]
    stream = "POST /v1/agents/{agent_id}/messages/stream"
    assert above(search_span)[1:] == ["execute_tool conversation_search", "invoke_agent Ada", stream]
    (alone,) = [span for span in spans if span.attributes.get("folkmoot.run.id") == run]
    assert alone.parent == "" and by_id[alone.links[0]].name == "POST /v1/agents/{agent_id}/messages/async"


@once
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin is not known"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "use http/protobuf"),
    ],
)
def test_what_cannot_be_done_is_said_at_the_start(
    variables: Mapping[str, str], said: str, start_server: StartServer
) -> None:
    log = start_server(env=variables).log()
    assert [said in line for line in log.splitlines() if line.startswith("  tracing ")] == [True]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folkmoot.tracing.find_spec", lambda module: None)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert is_wanted(variables) and not is_wanted(variables | {"OTEL_TRACES_EXPORTER": "none"})
    assert why_not(variables) == "not installed: pip install 'folkmoot[otel]'"


def test_without_the_variables_nothing_is_loaded() -> None:
    code = (
        "import sys, folkmoot.serving; from folkmoot import tracing; tracing.begin()\n"
        "with tracing.span('a', {}) as span: span.tell({'b': 1})\n"
        "print(tracing.is_on(), span is tracing.NO_SPAN, 'opentelemetry.sdk' in sys.modules)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
