"""PostgreSQL without pgvector: everything is found all the same, and that it is missing is said once, at the start."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from meaning import fill, new_archive, search, texts, until_embedded

from support.clients import plain_client
from support.fixtures import StartServer
from support.postgres import PostgresDatabases
from support.scripted_model import ScriptedModel

INSTALLED = "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"


@pytest.fixture
def limited_url(database_url: str, postgres_server: PostgresDatabases) -> Iterator[str]:
    """The test's database, for a user who may work with its tables and may not add an extension."""
    database, role = database_url.rpartition("/")[2], f"limited_{uuid4().hex[:8]}"
    postgres_server.run_sql(f"CREATE ROLE {role} LOGIN")
    postgres_server.run_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}", database)
    yield database_url.replace("postgres@", f"{role}@")
    postgres_server.run_sql(f"DROP OWNED BY {role}", database)
    postgres_server.run_sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_passages_are_found_by_meaning_without_pgvector(
    limited_url: str,
    database_url: str,
    postgres_server: PostgresDatabases,
    start_server: StartServer,
    scripted_model: ScriptedModel,
) -> None:
    scripted_model.embeddings.meanings = {"feline": "cat", "hound": "dog"}
    server = start_server(database=limited_url)
    with plain_client(server.url) as http:
        archive_id = new_archive(http)
        fill(http, archive_id, "a feline sleeps", "the hound runs", "invoice 4711 was paid")
        until_embedded(http, archive_id)
        for mode in ("vector", "hybrid"):
            assert texts(search(http, "cat", archive_id, search_mode=mode, limit=1)) == ["a feline sleeps"]
        assert texts(search(http, "4711", archive_id, limit=1)) == ["invoice 4711 was paid"]
    assert "0" in postgres_server.run_sql(INSTALLED, database_url.rpartition("/")[2]).split()
    assert server.log().count("PostgreSQL has no pgvector") == 1
    assert "CREATE EXTENSION vector" in server.log()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_passages_are_found_by_meaning_where_pgvector_is_in_a_schema_that_is_not_looked_in(
    database_url: str, postgres_server: PostgresDatabases, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    there = "CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions"
    postgres_server.run_sql(there, database_url.rpartition("/")[2])
    scripted_model.embeddings.meanings = {"feline": "cat"}
    server = start_server(database=database_url)
    with plain_client(server.url) as http:
        archive_id = new_archive(http)
        fill(http, archive_id, "a feline sleeps", "the hound runs")
        until_embedded(http, archive_id)
        assert texts(search(http, "cat", archive_id, search_mode="vector", limit=1)) == ["a feline sleeps"]
    assert "in a schema that this user does not look in" in server.log()
    assert "search_path" in server.log()
