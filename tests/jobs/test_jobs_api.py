"""Jobs over HTTP: lists, one of them, cancelling and deleting. No process can do the kind of these, so they wait."""

from __future__ import annotations

import pytest

from folkmoot.jobs.jobs import Job, add_job
from folkmoot.store.engine import Store
from support.clients import plain_client
from support.fixtures import StartServer

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

FOLDER = "source-123e4567-e89b-42d3-8456-426614174000"


@pytest.fixture
async def waiting(opened: Store) -> list[Job]:
    """Three jobs, the second of them part of a folder."""
    parents = (None, FOLDER, None)
    return [
        await opened.write(
            lambda transaction, number=number, parent=parent: add_job(
                transaction, "nobodys", f"thing-{number}", parent_id=parent
            )
        )
        for number, parent in enumerate(parents)
    ]


async def test_jobs_are_listed_shown_cancelled_and_deleted(waiting: list[Job], start_server: StartServer) -> None:
    first, second, third = (job.id for job in waiting)
    with plain_client(start_server().url) as http:

        def listed(path: str = "", **query: str) -> list[str]:
            answer = http.get(f"/v1/jobs{path}", params=query)
            assert answer.status_code == 200, answer.text
            return [job["id"] for job in answer.json()]

        assert listed() == [third, second, first]
        assert listed(limit="1", after=third) == [second]
        assert listed("/active", ascending="true") == [first, second, third]
        assert listed(source_id=FOLDER) == [second]
        shown = http.get(f"/v1/jobs/{second}").json()
        assert (shown["status"], shown["job_type"], shown["kind"]) == ("created", "job", "nobodys")
        assert (shown["subject_id"], shown["source_id"], shown["metadata"]["source_id"]) == ("thing-1", FOLDER, FOLDER)
        cancelled = http.patch(f"/v1/jobs/{second}/cancel").json()
        assert (cancelled["status"], cancelled["stop_reason"]) == ("cancelled", "cancelled")
        assert cancelled["completed_at"] is not None
        assert http.patch(f"/v1/jobs/{second}/cancel").json() == cancelled, "it is over already"
        assert listed("/active") == listed(active="true") == [third, first]
        assert http.delete(f"/v1/jobs/{second}").json()["status"] == "cancelled"
        assert http.delete(f"/v1/jobs/{first}").json()["status"] == "cancelled"
        assert listed(after=second) == [], "where a deleted job stood is known"
        for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", "/cancel")):
            assert http.request(method, f"/v1/jobs/{first}{path}").status_code == 404
            assert http.request(method, f"/v1/jobs/nonsense{path}").status_code == 422
