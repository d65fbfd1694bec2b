"""`/metrics`: what a process has done and how it stands, in the format that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.scripted_model import ScriptedModel

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEY = "a-key-for-the-test"


def figures(http: httpx.Client) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def named(found: Mapping[Any, float], name: str, **labels: str) -> float:
    return sum(value for (each, has), value in found.items() if each == name and labels.items() <= dict(has).items())


def test_what_was_done_is_counted(start_server: StartServer, scripted_model: ScriptedModel, database_url: str) -> None:
    with plain_client(start_server().url) as http:
        blocks = [{"label": "human", "value": "a", "limit": 100}]
        agent = http.post("/v1/agents", json={"model": MODEL, "memory_blocks": blocks}).json()["id"]
        block = http.get(f"/v1/agents/{agent}").json()["blocks"][0]["id"]
        before = figures(http)
        calls = 'CALL memory_insert {"label": "human", "new_string": "b"}\nTHEN CALL memory_replace '
        calls += '{"label": "human", "old_string": "never there", "new_string": "c"}'
        assert http.post(f"/v1/agents/{agent}/messages", json={"input": calls}).status_code == 200
        scripted_model.fail_next(400)
        assert http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO x"}).status_code >= 500
        for _ in range(2):
            assert http.get(f"/v1/blocks/{block}").status_code == 200
        assert http.get("/v1/nowhere/at/all").status_code == 404
        after = figures(http)

        def grown(name: str, **labels: str) -> float:
            return named(after, name, **labels) - named(before, name, **labels)

        assert named(after, "folkmoot_store_bytes", kind="used") > 100_000
        on_this_disk = database_url.startswith("sqlite")
        assert (("folkmoot_store_bytes", (("kind", "free"),)) in after) == on_this_disk
        assert grown("folkmoot_requests_total", method="GET", route="/v1/blocks/{block_id}", status="200") == 2
        assert grown("folkmoot_requests_total", route="none", status="404") == 1
        assert grown("folkmoot_request_seconds_count", method="POST") == 2
        assert grown("folkmoot_turns_total", stop_reason="end_turn") == 1
        assert grown("folkmoot_turns_total", stop_reason="llm_api_error") == 1
        assert grown("folkmoot_model_calls_total", model=MODEL, outcome="succeeded") == 3
        assert grown("folkmoot_model_calls_total", model=MODEL, outcome="failed") == 1
        assert grown("folkmoot_tokens_total", kind="prompt") == 300
        assert grown("folkmoot_tokens_total", kind="completion") == 30
        assert grown("folkmoot_tool_calls_total", outcome="succeeded") == 1
        assert grown("folkmoot_tool_calls_total", outcome="failed") == 1
        assert grown("folkmoot_memory_edits_total", outcome="landed", author="agent") == 1
        assert grown("folkmoot_memory_edits_total", outcome="refused", author="agent") == 1
        assert grown("folkmoot_store_seconds_count", kind="write") > 3
        assert named(after, "process_resident_memory_bytes") > 1_000_000


@once
def test_how_it_stands(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    with plain_client(start_server().url) as http:
        agent = http.post("/v1/agents", json={"model": MODEL}).json()["id"]
        with scripted_model.hold() as held:
            runs = [
                http.post(f"/v1/agents/{agent}/messages/async", json={"input": "ECHO x"}).json()["id"] for _ in range(3)
            ]
            held.wait_for(1)
            with http.stream("GET", f"/v1/runs/{runs[0]}/stream") as stream:
                lines = stream.iter_lines()  # kept, for a stream that nobody reads is closed
                next(lines)
                now = figures(http)
            assert named(now, "folkmoot_runs", state="working") == 1
            assert named(now, "folkmoot_runs", state="waiting") == 2
            assert named(now, "folkmoot_leases", kind="run") == 3
            assert named(now, "folkmoot_readers") == 1
        while named(figures(http), "folkmoot_leases", kind="run"):
            time.sleep(0.02)
        assert named(figures(http), "folkmoot_readers") == 0


@once
def test_without_a_key_only_a_program_of_this_machine_reads_it(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": KEY, "FOLKMOOT_ALLOWED_HOSTS": "moot.example.org"})
    with plain_client(server.url) as http:
        assert http.get("/metrics").status_code == 200
        assert http.get("/v1/agents").status_code == 401
        for headers in (
            {"host": "moot.example.org"},
            {"x-forwarded-for": "203.0.113.5"},
            {"forwarded": "for=203.0.113.5"},
            {"origin": "http://localhost:3000"},
        ):
            assert http.get("/metrics", headers=headers).status_code == 401, headers
        assert http.get("/metrics", headers={"host": "evil.example.com"}).status_code in (401, 421)
        assert http.post("/metrics").status_code in (401, 405)
        known = {"authorization": f"Bearer {KEY}", "host": "moot.example.org"}
        assert http.get("/metrics", headers=known).status_code == 200
        admin = {"authorization": f"Bearer {KEY}"}
        made = http.post("/v1/organizations", json={"name": "other"}, headers=admin).json()
        fields = {"name": "other", "role": "admin", "organization": made["id"]}
        key = http.post("/v1/keys", json=fields, headers=admin).json()["key"]
        foreign = {"authorization": f"Bearer {key}", "host": "moot.example.org"}
        assert http.get("/metrics", headers=foreign).status_code == 403
