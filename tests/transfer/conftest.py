"""A second database beside the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import PostgresDatabases


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of another database, of either kind, that is not there or empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'target' / 'other.sqlite3'}"
        return
    postgres: PostgresDatabases = request.getfixturevalue("postgres_server")
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)
