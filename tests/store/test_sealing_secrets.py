"""What is sealed can be read with its key and with no other, and never in the database."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from folkmoot.errors import StoreUnavailable
from folkmoot.store.sealing import Sealer
from support.clients import official_client
from support.fixtures import MODEL, StartServer

VARIABLES = {"API_KEY": "swordfish", "ÜMLAUT": "größe 😀", "EMPTY": ""}


def test_variables_come_back_as_they_were_sealed(tmp_path: Path) -> None:
    sealed = Sealer("a secret", tmp_path).seal(VARIABLES)
    assert sealed is not None
    assert "swordfish" not in sealed
    assert Sealer("a secret", tmp_path / "elsewhere").unseal(sealed) == VARIABLES
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_sealed_to_nothing(tmp_path: Path) -> None:
    sealer = Sealer(None, tmp_path)
    assert sealer.seal({}) is None
    assert sealer.unseal(None) == sealer.unseal("") == {}
    assert list(tmp_path.iterdir()) == []


def test_another_key_opens_nothing_and_is_told_how(tmp_path: Path) -> None:
    sealed = Sealer("a secret", tmp_path).seal(VARIABLES)
    with pytest.raises(StoreUnavailable, match="FOLKMOOT_SECRET_KEY"):
        Sealer("another secret", tmp_path).unseal(sealed)


@pytest.mark.parametrize("broken", ["x", "gAAAAABk", "ä", "{}"])
def test_what_was_never_sealed_is_told(tmp_path: Path, broken: str) -> None:
    with pytest.raises(StoreUnavailable):
        Sealer("a secret", tmp_path).unseal(broken)


def test_the_same_variables_are_sealed_differently_each_time(tmp_path: Path) -> None:
    sealer = Sealer("a secret", tmp_path)
    assert sealer.seal(VARIABLES) != sealer.seal(VARIABLES)


def test_without_a_secret_a_key_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    sealed = Sealer(None, folder).seal(VARIABLES)
    (key,) = folder.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_text()
    assert Sealer(None, folder).unseal(sealed) == VARIABLES
    assert key.read_text() == before


def test_another_folders_key_opens_nothing(tmp_path: Path) -> None:
    sealed = Sealer(None, tmp_path / "one").seal(VARIABLES)
    with pytest.raises(StoreUnavailable):
        Sealer(None, tmp_path / "two").unseal(sealed)


def test_an_empty_key_file_is_not_a_key(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("")
    with pytest.raises(StoreUnavailable, match=r"secret\.key"):
        Sealer(None, tmp_path).seal(VARIABLES)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_an_agents_secrets_are_not_in_the_database_file(start_server: StartServer, database_url: str) -> None:
    server = start_server()
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, secrets={"TOKEN": "swordfish-4711"})
        shown = client.agents.retrieve(agent.id).secrets or []
        assert [(secret.key, secret.value) for secret in shown] == [("TOKEN", "swordfish-4711")]
    server.stop()
    path = Path(database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as database:
        assert "swordfish-4711" not in "\n".join(database.iterdump())
    assert b"swordfish-4711" not in path.read_bytes()
    assert "swordfish" not in server.log()
