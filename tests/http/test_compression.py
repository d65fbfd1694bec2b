"""Answers are compressed for clients that take it, but for short ones and for streams."""

from __future__ import annotations

import re

import httpx

from support.fixtures import NewAgent, NewBlock, one_store

pytestmark = one_store


def test_long_answers_are_compressed_for_who_takes_it(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="line\n" * 5000)
    static = "/static/style.css"
    for path in (f"/v1/blocks/{block.id}", f"/blocks/{block.id}", "/openapi.json", static):
        plain = http.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers, path
        taken = http.get(path, headers={"accept-encoding": "gzip"})
        assert taken.headers["content-encoding"] == "gzip", path
        assert "accept-encoding" in taken.headers["vary"].lower(), path
        assert int(taken.headers["content-length"]) < int(plain.headers["content-length"]) / 3, path
        assert len(ageless(taken)) == len(ageless(plain)), path
    etag = http.get(f"/v1/blocks/{block.id}", headers={"accept-encoding": "gzip"}).headers["etag"]
    assert http.patch(f"/v1/blocks/{block.id}", json={"value": "x"}, headers={"If-Match": etag}).status_code == 200


def ageless(answer: httpx.Response) -> str:
    """Return the text of an answer without how long ago anything was."""
    return re.sub(r"\d+ \w+ ago", "", answer.text)


def test_short_answers_and_streams_are_not(http: httpx.Client, new_agent: NewAgent) -> None:
    taken = {"accept-encoding": "gzip"}
    assert "content-encoding" not in http.get("/v1/health", headers=taken).headers
    agent = new_agent()
    body = {"input": "ECHO " + "word " * 1000, "stream_tokens": True}
    with http.stream("POST", f"/v1/agents/{agent.id}/messages/stream", json=body, headers=taken) as stream:
        assert "content-encoding" not in stream.headers
        assert stream.read().count(b"data: ") > 2
