"""How a server of tools is reached: what variables fill, and what is never shown."""

from __future__ import annotations

import json

import pytest

from folkmoot.errors import InvalidInput
from folkmoot.tools.mcp.configuration import ServerConfiguration

SECRET = "hush-hush-1234"


def remote(**fields: object) -> ServerConfiguration:
    return ServerConfiguration(**{"server_type": "streamable_http", "server_url": "https://a.example/mcp", **fields})  # type: ignore[arg-type]


def test_places_are_filled_from_variables_then_from_defaults() -> None:
    configuration = remote(
        auth_token="Bearer {{ TOKEN }}", custom_headers={"X-Team": "{{TEAM|red team}}", "X-Plain": "as it is"}
    )
    assert configuration.variables == {"TOKEN", "TEAM"}
    filled = configuration.filled({"TOKEN": "t1", "OTHER": "x"})
    assert filled.headers == {"Authorization": "Bearer t1", "X-Team": "red team", "X-Plain": "as it is"}
    program = ServerConfiguration("stdio", command="x", env={"KEY": "{{ KEY | }}"})
    assert program.filled({}).env == {"KEY": ""}


def test_a_place_without_value_or_default_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"variable TOKEN.*\{\{ TOKEN \| default \}\}"):
        remote(auth_token="{{ TOKEN }}").filled({})


def test_what_fills_a_place_is_not_filled_itself() -> None:
    filled = remote(auth_token="{{ A }}").filled({"A": "{{ B }}", "B": "no"})
    assert filled.auth_token == "{{ B }}"


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\0b", "ü", "\u20ac", " a", "a\n"])
def test_a_value_that_no_header_can_carry_is_refused_when_it_is_filled_in(value: str) -> None:
    with pytest.raises(InvalidInput, match="X-A"):
        remote(custom_headers={"X-A": "{{ V }}"}).filled({"V": value})


@pytest.mark.parametrize("name", ["Host", "content-length", "bad name", "", "X:Y"])
def test_headers_that_are_the_protocols_own_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="custom_headers"):
        remote(custom_headers={name: "x"}).check()


def test_headers_that_say_what_the_protocol_says_are_taken_and_its_own_are_sent() -> None:
    given = {"Content-Type": "application/json", "accept": "application/json, text/event-stream", "X-A": "1"}
    configuration = remote(custom_headers=given)
    configuration.check()
    assert configuration.headers == {"X-A": "1"}
    assert set(configuration.shown(to_admin=True)["custom_headers"]) == set(given)


@pytest.mark.parametrize(
    ("token", "header"),
    [("abc", "Bearer abc"), ("Bearer abc", "Bearer abc"), ("Basic abc", "Basic abc")],
)
def test_a_bare_token_is_a_bearer_token(token: str, header: str) -> None:
    assert remote(auth_token=token).headers == {"Authorization": header}
    assert remote(auth_token=token, auth_header="X-Key").headers == {"X-Key": token}


def test_no_secret_is_shown() -> None:
    configuration = remote(
        server_url=f"https://a.example/mcp?key={SECRET}&b={SECRET}#x",
        auth_header="Authorization",
        auth_token=f"Bearer {SECRET}",
        custom_headers={"X-A": SECRET, "X-B": f"a{SECRET} {{{{ V | {SECRET} }}}}{SECRET}"},
    )
    program = ServerConfiguration("stdio", command="c", args=["a"], env={"K": SECRET, "L": "{{ L }}"})
    shown, shown_program = configuration.shown(to_admin=True), program.shown(to_admin=True)
    assert SECRET not in json.dumps([shown, shown_program])
    assert shown["server_url"] == "https://a.example/mcp?key=***&b=***#x"
    assert shown["auth_token"] == "Bearer ***"
    assert shown["custom_headers"]["X-B"] == "***{{ V | *** }}***"
    assert shown_program["env"] == {"K": "***", "L": "{{ L }}"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://a.example:8443/{SECRET}/mcp?a=b", "https://a.example:8443/***"),
        (f"https://a.example?{SECRET}", "https://a.example/***"),
        (f"https://a.example#{SECRET}", "https://a.example/***"),
        ("https://a.example/", "https://a.example"),
    ],
)
def test_others_than_admins_see_no_argument_and_no_path(url: str, shown: str) -> None:
    configuration = remote(server_url=url)
    assert configuration.shown(to_admin=False)["server_url"] == shown
    assert remote(server_url=shown).with_secrets_of(configuration).server_url == url
    program = ServerConfiguration("stdio", command="c", args=("--key", SECRET))
    assert program.shown(to_admin=False) == {"command": "c", "args": ["***", "***"], "env": None}
    sent = ServerConfiguration("stdio", command="c", args=("***", "***"))
    assert sent.with_secrets_of(program).args == ("--key", SECRET)


def test_what_comes_back_as_it_was_shown_stays_as_it_was() -> None:
    stored = remote(
        server_url=f"https://a.example/mcp?key={SECRET}",
        auth_token=f"Bearer {SECRET}",
        custom_headers={"X-A": SECRET, "X-B": "old"},
    )
    sent = remote(**{**stored.shown(to_admin=True), "custom_headers": {"X-A": "***", "X-B": "new", "X-C": "***"}})
    kept = sent.with_secrets_of(stored)
    assert kept.server_url == stored.server_url
    assert kept.auth_token == stored.auth_token
    assert kept.custom_headers == {"X-A": SECRET, "X-B": "new", "X-C": "***"}


def test_configurations_and_subjects_are_told_apart() -> None:
    configuration = remote(auth_token="{{ USER | all }}")
    prints = {configuration.filled(values).fingerprint for values in ({}, {"USER": "a"}, {"USER": "b"})}
    assert len(prints) == 3
    assert configuration.filled({"USER": "a"}).fingerprint == configuration.filled({"USER": "a", "X": "1"}).fingerprint
    subjects = {configuration.subject(values) for values in ({}, {"USER": "a"}, {"USER": "b"}, {"USER": "a", "X": "1"})}
    assert len(subjects) == 3
    assert remote().subject({"USER": "a"}) == ""
    assert ServerConfiguration.from_json(configuration.to_json()) == configuration
