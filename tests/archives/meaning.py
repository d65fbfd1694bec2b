"""Archives with an embedding, and waiting until their passages have vectors."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from support.polling import until

EMBEDDING = "openai/text-embedding-3-small"


def new_archive(http: httpx.Client, embedding: str | None = EMBEDDING) -> str:
    """Return a new archive."""
    answer = http.post("/v1/archives", json={"name": f"archive_{uuid4().hex[:10]}", "embedding": embedding})
    assert answer.status_code == 200, answer.text
    archive_id: str = answer.json()["id"]
    return archive_id


def fill(http: httpx.Client, archive_id: str, *texts: str, **fields: Any) -> list[str]:
    """Add passages and return their identifiers."""
    body = {"passages": [{"text": text, **fields} for text in texts]}
    answer = http.post(f"/v1/archives/{archive_id}/passages/batch", json=body)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


def job_of(http: httpx.Client, archive_id: str) -> dict[str, Any] | None:
    """Return the archive's job that is not over."""
    found: list[dict[str, Any]] = http.get("/v1/jobs/active", params={"limit": 1000}).json()
    return next((job for job in found if job["subject_id"] == archive_id), None)


def until_embedded(http: httpx.Client, archive_id: str) -> None:
    """Return when the archive's job has nothing left to do."""
    until(lambda: job_of(http, archive_id) is None)


def until_failing(http: httpx.Client, archive_id: str) -> str:
    """Return what went wrong with the archive's job, once it has."""
    return until(lambda: str((job_of(http, archive_id) or {}).get("error") or ""))


def search(http: httpx.Client, query: str, archive_id: str, **more: Any) -> list[dict[str, Any]]:
    """Return what a search in the archive finds."""
    answer = http.post("/v1/passages/search", json={"query": query, "archive_id": archive_id, **more})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def texts(found: list[dict[str, Any]]) -> list[str]:
    """Return what the passages say."""
    return [each["passage"]["text"] for each in found]
