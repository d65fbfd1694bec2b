"""What an error looks like, for the tests of every resource."""

from __future__ import annotations

from typing import Any

import httpx

UNKNOWN = "00000000-0000-4000-8000-000000000000"
"""The rest of an identifier of nothing: `f"block-{UNKNOWN}"`."""

JSON = {"content-type": "application/json"}


def assert_error(response: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """Check that `response` is an error in the one form, whose detail has these words, and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert isinstance(body["detail"], str)
    assert body["detail"]
    if status == 422:
        assert body["trace_id"] == ""
    missing = [word for word in words if word not in body["detail"]]
    assert missing == [], body["detail"]
    return body
