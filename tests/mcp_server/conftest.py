"""Members of the shared server, whose own door stays open to who shows no key."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from members import NewMember


@pytest.fixture
def new_member(http: httpx.Client) -> NewMember:
    """Make a member and return its key: `new_member("claude-code", blocks=[…], agents=[…])`."""

    def make(name: str = "claude-code", **grants: Any) -> str:
        made = http.post("/v1/keys", json={"name": name, **grants})
        assert made.status_code == 200, made.text
        return str(made.json()["key"])

    return make
