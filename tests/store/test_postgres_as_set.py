"""PostgreSQL as people have it: addresses as hosts of databases hand them out, settings, schemas, encodings."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy import select, update

from folkmoot.errors import StartupError, StoreUnavailable
from folkmoot.store.bulk_opening import open_loading
from folkmoot.store.engine import Transaction
from folkmoot.store.migrate import LOCK, migrate_postgres
from folkmoot.store.opening import open_store, read_address
from folkmoot.store.postgres_connections import LISTENER
from folkmoot.store.tables import organizations
from support.clients import official_client
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.postgres import PostgresDatabases
from support.stores import open_default

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

BEFORE = "0024"
"""A revision that is not the newest, so that the migrations are run."""


async def until(watching: asyncpg.Connection, condition: str) -> None:
    """Wait until a connection of this database is so."""
    query = f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND {condition})"
    async with asyncio.timeout(PATIENCE):
        while not await watching.fetchval(query):
            await asyncio.sleep(0.01)


def alter(server: PostgresDatabases, url: str, *settings: str) -> None:
    for setting in settings:
        server.run_sql(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET {setting}')


# -- addresses -----------------------------------------------------------------------------------------------


def test_an_address_may_have_several_hosts_and_what_libpq_knows(database_url: str, start_server: StartServer) -> None:
    asked = "target_session_attrs=primary&connect_timeout=10&keepalives=1&keepalives_idle=30&gssencmode=prefer"
    several = database_url.replace("@", "@127.0.0.1:1,")
    server = start_server(database=f"{several}?{asked}&channel_binding=prefer&application_name=moot")
    with official_client(server.url) as client:
        block = client.blocks.create(label="human", value="Ada")
        assert client.blocks.retrieve(block.id).value == "Ada"


@pytest.mark.parametrize(
    "address",
    [
        "ada:se#cret@db/moot",
        "ada:se/cret@db/moot",
        "ada:se?cret@db/moot",
        "ada:se@cret@db/moot",
        "ada:se@:/?#cret@db:5432/moot",
        "ada:secret@db:here/moot",
        "ada:secret@db:70000/moot",
        "ada:secret@db:1,db:two/moot",
    ],
)
def test_an_address_whose_hosts_cannot_be_read_is_refused_without_its_password(address: str, store: str) -> None:
    with pytest.raises(StartupError, match=r"hosts and ports cannot be read.*%40 for @") as refused:
        read_address(f"postgresql://{address}")
    assert "cret" not in refused.value.message


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("sslmode=require&channel_binding=require", "channel_binding=require in the address cannot be kept"),
        ("sslmode=verify-full&sslrootcert=/no/such.crt", "sslrootcert in the address: there is no file /no/such.crt"),
        ("sslrootcert=system", "rejected SSL upgrade"),  # and does not go on without
        ("target_session_attrs=standby", "None of the hosts match"),
        ("sslmode", "needs parameters as in sslmode=require"),
        ("colour=red", 'unrecognized configuration parameter "colour"'),
    ],
)
async def test_what_an_address_asks_for_and_cannot_have_is_told(database_url: str, asked: str, told: str) -> None:
    with pytest.raises(StartupError) as refused:
        await open_store(f"{database_url}?{asked}", 5.0)
    assert told in refused.value.message
    assert "\n" not in refused.value.message


async def test_a_socket_that_is_not_there_is_named(store: str) -> None:
    with pytest.raises(StartupError, match="PostgreSQL at /no/such cannot be reached"):
        await open_store("postgresql:///moot?host=/no/such", 5.0)


# -- settings of the database or the user ----------------------------------------------------------------------


async def test_a_stricter_isolation_does_not_have_work_done_again(
    database_url: str, postgres_server: PostgresDatabases
) -> None:
    alter(postgres_server, database_url, "default_transaction_isolation = 'repeatable read'")
    store, watching = await open_default(database_url), await asyncpg.connect(database_url)
    holding, told, looks = asyncio.Event(), asyncio.Event(), 0
    rename = update(organizations).values(name="renamed")

    async def found(transaction: Transaction) -> None:
        await transaction.insert(organizations, [{"name": "ours", "created_at": 0}])

    async def first(transaction: Transaction) -> None:
        await transaction.run(rename)
        holding.set()
        await told.wait()

    async def second(transaction: Transaction) -> None:
        nonlocal looks
        looks += 1
        await transaction.all(select(organizations))
        await transaction.run(rename)

    await store.write(found)
    work = [asyncio.create_task(store.write(first))]
    await holding.wait()
    work.append(asyncio.create_task(store.write(second)))
    await until(watching, "wait_event_type = 'Lock'")
    told.set()
    await asyncio.gather(*work)
    assert looks == 1
    await watching.close()
    await store.close()


async def test_who_waits_for_another_process_that_migrates_waits_longer_than_statements_may_take(
    empty_database_url: str, postgres_server: PostgresDatabases
) -> None:
    alter(postgres_server, empty_database_url, "statement_timeout = 100", "lock_timeout = 100")
    watching = await asyncpg.connect(empty_database_url)
    await watching.execute(f"SELECT pg_advisory_lock({LOCK})")
    migrating = asyncio.create_task(migrate_postgres(empty_database_url))
    waiting = asyncio.create_task(until(watching, "wait_event = 'advisory' AND now() - query_start > '0.3 s'"))
    await asyncio.wait([migrating, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert not migrating.done()
    await watching.close()
    await migrating


async def test_a_database_that_takes_no_writes_is_told_at_the_start_and_when_it_is_asked(
    empty_database_url: str, postgres_server: PostgresDatabases
) -> None:
    alter(postgres_server, empty_database_url, "default_transaction_read_only = on")
    with pytest.raises(
        StartupError, match="PostgreSQL is read-only: it is a standby, or default_transaction_read_only"
    ):
        await open_store(empty_database_url, 5.0)
    alter(postgres_server, empty_database_url, "default_transaction_read_only = off")
    await migrate_postgres(empty_database_url)
    alter(postgres_server, empty_database_url, "default_transaction_read_only = on")
    store = await open_default(empty_database_url)
    with pytest.raises(StoreUnavailable, match="default_transaction_read_only is on"):
        await store.engine.check()
    await store.close()


async def test_who_listens_is_not_cut_off_for_being_idle(database_url: str, postgres_server: PostgresDatabases) -> None:
    alter(postgres_server, database_url, "idle_session_timeout = 100")
    store, watching = await open_default(database_url), await asyncpg.connect(database_url)
    await watching.execute("SET idle_session_timeout = 0")
    await until(watching, f"application_name = '{LISTENER}' AND now() - state_change > '0.3 s'")
    await watching.close()
    await store.close()


# -- schemas and encodings -------------------------------------------------------------------------------------


@pytest.fixture
def shared_url(empty_database_url: str, postgres_server: PostgresDatabases) -> str:
    """A database in which another application has its tables, and Folkmoot shall have a schema of its own."""
    database = empty_database_url.rpartition("/")[2]
    made = "CREATE TABLE alembic_version AS SELECT 'ae1027a6acf' AS version_num; CREATE TABLE messages (mine TEXT)"
    postgres_server.run_sql(f"{made}; CREATE SCHEMA moot", database)
    return empty_database_url


async def test_a_database_of_another_application_is_refused(shared_url: str) -> None:
    with pytest.raises(StartupError, match=r"\(its alembic_version says ae1027a6acf\).*folkmoot import"):
        await open_store(shared_url, 5.0)


async def test_a_schema_of_its_own_beside_another_application_is_filled_and_served(
    shared_url: str, postgres_server: PostgresDatabases
) -> None:
    url = f"{shared_url}?search_path=moot%2Cpublic"
    await migrate_postgres(url)
    async with open_loading(url, BEFORE, replace=True):
        pass
    await (await open_store(url, 5.0)).close()
    theirs = "SELECT version_num FROM public.alembic_version UNION SELECT count(*)::text FROM public.messages"
    assert postgres_server.run_sql(theirs, shared_url.rpartition("/")[2]).split() == ["0", "ae1027a6acf"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_not_filled(
    encoding: str, postgres_server: PostgresDatabases, store: str
) -> None:
    url = postgres_server.create_database(encoding=encoding)
    with pytest.raises(StartupError, match=f"encoding is {encoding}.*createdb --encoding UTF8"):
        await open_store(url, 5.0)
    with pytest.raises(StartupError, match=f"encoding is {encoding}"):
        async with open_loading(url, BEFORE, replace=False):
            pass
    postgres_server.drop_database(url)
