"""Bedrock's models, asked through Amazon's package at an address of the test's; skipped where that is not installed."""

from __future__ import annotations

import json
from zlib import crc32

import pytest
from fake_provider import Answer, FakeProvider

from folkmoot.errors import InvalidInput, NotFound, ProviderAuthentication
from folkmoot.models.added import AddedProvider, changed
from folkmoot.models.connections import Connections
from folkmoot.models.listing import listed_models
from folkmoot.models.prompt import Prompt, UserMessage
from folkmoot.models.providers import EXTRAS
from folkmoot.store.sealing import Sealer


def event(kind: str, payload: object) -> bytes:
    """Return an event as Amazon's streams have it: lengths, headers and checksums in binary."""
    told = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    pairs = [(name.encode(), value.encode()) for name, value in told.items()]
    headers = b"".join(bytes([len(name)]) + name + b"\x07" + len(value).to_bytes(2) + value for name, value in pairs)
    body = json.dumps(payload).encode()
    prelude = (16 + len(headers) + len(body)).to_bytes(4) + len(headers).to_bytes(4)
    message = prelude + crc32(prelude).to_bytes(4) + headers + body
    return message + crc32(message).to_bytes(4)


ANSWER = b"".join(
    [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello from Bedrock."}}),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event(
            "metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 1}}
        ),
    ]
)
KEYS = {"api_key": "the-secret", "access_key": "AKIAEXAMPLE", "region": "eu-west-1"}


def added(sealer: Sealer, **fields: str | None) -> AddedProvider:
    bare = AddedProvider("", "provider-1", "mine", "bedrock", None, None, None, None, 0, 0, None)
    return changed(bare, fields, sealer)


@pytest.fixture
def sealer(tmp_path: object) -> Sealer:
    return Sealer("secret", tmp_path)  # type: ignore[arg-type]


def test_without_its_package_a_handle_says_what_to_install(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "bedrock", "a_package_that_is_not_there")
    with pytest.raises(NotFound, match=r"pip install 'folkmoot\[bedrock\]'"):
        added(sealer, **KEYS).resolve("x", sealer.unseal)


def test_it_needs_a_region_and_takes_no_address(sealer: Sealer) -> None:
    with pytest.raises(InvalidInput, match="region"):
        added(sealer, api_key="k")
    with pytest.raises(InvalidInput, match="base_url"):
        added(sealer, **KEYS, base_url="https://example.org")


async def test_its_models_are_listed_and_asked(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    from folkmoot.models.calls import whole

    models = [{"modelId": "anthropic.claude-sonnet-4-5"}, {"modelId": "amazon.titan-embed-text-v2"}]

    def answer_to(method: str) -> Answer:
        kind = {"content-type": "application/vnd.amazon.eventstream"}
        return Answer({"modelSummaries": models}) if method == "GET" else Answer(ANSWER, headers=kind)

    async with FakeProvider(lambda asked: answer_to(asked.method)) as amazon:
        for service in ("BEDROCK", "BEDROCK_RUNTIME"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", amazon.address)
        resolved = added(sealer, **KEYS).resolve("anthropic.claude-sonnet-4-5", sealer.unseal)
        assert resolved.address == "https://bedrock-runtime.eu-west-1.amazonaws.com"
        listed = await listed_models(resolved, 1000)
        assert [(each.handle, each.kind) for each in listed] == [
            ("mine/anthropic.claude-sonnet-4-5", "llm"),
            ("mine/amazon.titan-embed-text-v2", "embedding"),
        ]
        connections = Connections(10)
        reply = await whole(await connections.open(resolved), Prompt("Be kind.", [UserMessage("Hello?")]))
        await connections.aclose()
    assert (reply.text, reply.usage.prompt_tokens, reply.usage.completion_tokens) == ("Hello from Bedrock.", 3, 4)
    assert "Credential=AKIAEXAMPLE" in amazon.asked[-1].headers["authorization"]
    assert "the-secret" not in str(amazon.asked)


async def test_keys_that_are_refused_are_told(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    async with FakeProvider([Answer({"message": "The security token is invalid."}, status=403)]) as amazon:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", amazon.address)
        with pytest.raises(ProviderAuthentication, match="403"):
            await listed_models(added(sealer, **KEYS).resolve("any", sealer.unseal), 1000)
