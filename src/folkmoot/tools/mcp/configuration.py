"""How a server of tools is reached, with places in its secrets that an agent's variables fill when it is asked.

A header, a token or a variable of the environment may hold `{{ NAME }}` or `{{ NAME | default }}`. What stands around
such places is secret: it is sealed in the store, and an answer shows `***` in its stead.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from folkmoot.errors import InvalidInput
from folkmoot.sandbox.reach import read_hosts

ServerType: TypeAlias = Literal["stdio", "streamable_http", "sse"]

MASK = "***"
"""What is shown instead of a secret; a change that sends it back keeps the secret as it is."""

DEFAULT_AUTH_HEADER = "Authorization"

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\|([^{}]*))?\}\}")
_SCHEME = re.compile(r"(?:Bearer|Basic|Token) ", re.IGNORECASE)
_QUERY_VALUE = re.compile(r"(?<==)[^&#]+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[!-~]+(?:[\t ]+[!-~]+)*)?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

OWN_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te"})
"""Headers that the connection sets itself."""

PASSED_OVER = frozenset({"content-type", "accept"})
"""Headers that the protocol sets itself, as many programs do once more: they are kept, and its own are sent."""


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """How one server is reached: a program of this machine, or an address."""

    server_type: ServerType
    server_url: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    allowed_hosts: Sequence[str] | None = None
    """Whom a program may reach; None for every host with a public address."""

    readable_paths: Sequence[str] = ()
    """What of this machine a program may read, beside itself and what its arguments name."""

    @classmethod
    def from_json(cls, text: str) -> ServerConfiguration:
        """Read what `to_json` wrote."""
        read = json.loads(text)
        lists = {
            name: tuple(read[name])
            for name in ("args", "readable_paths", "allowed_hosts")
            if read.get(name) is not None
        }
        return cls(**{**read, **lists})

    def to_json(self) -> str:
        """Return the configuration, secrets and all, as text to be sealed."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def is_program(self) -> bool:
        """Whether it is a program that is started on this machine."""
        return self.server_type == "stdio"

    @property
    def secrets(self) -> Mapping[str, str]:
        """Every secret by its place."""
        token = {"auth_token": self.auth_token} if self.auth_token else {}
        headers = {f"custom_headers.{name}": value for name, value in self.custom_headers.items()}
        return {**token, **headers, **{f"env.{name}": value for name, value in self.env.items()}}

    @property
    def variables(self) -> frozenset[str]:
        """The names of the agents' variables that it uses."""
        return frozenset(match[1] for value in self.secrets.values() for match in _PLACE.finditer(value))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every request carries; a token without a scheme is a bearer token."""
        headers = {name: value for name, value in self.custom_headers.items() if name.lower() not in PASSED_OVER}
        if self.auth_token:
            name = self.auth_header or DEFAULT_AUTH_HEADER
            bare = name.lower() == "authorization" and " " not in self.auth_token
            headers[name] = f"Bearer {self.auth_token}" if bare else self.auth_token
        return headers

    @property
    def fingerprint(self) -> str:
        """What tells it from every other one, without telling a secret."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def filled(self, variables: Mapping[str, str]) -> ServerConfiguration:
        """Return it with the values of an agent's variables.

        Raises:
            InvalidInput: a variable has neither value nor default, or its value does not fit.
        """
        if not self.variables:
            return self

        def fill(value: str) -> str:
            return _PLACE.sub(lambda match: _value_of(match, variables), value)

        filled = replace(
            self,
            auth_token=fill(self.auth_token) if self.auth_token else None,
            custom_headers={name: fill(value) for name, value in self.custom_headers.items()},
            env={name: fill(value) for name, value in self.env.items()},
        )
        filled.check()
        return filled

    def subject(self, variables: Mapping[str, str]) -> str:
        """Return for whom a server is asked: the same text for the same values of the variables that it uses.

        It is empty where it uses none, so that the whole organisation is meant.
        """
        used = {name: variables.get(name) for name in sorted(self.variables)}
        return hashlib.sha256(json.dumps(used).encode()).hexdigest() if used else ""

    def shown(self, *, to_admin: bool) -> dict[str, Any]:
        """Return it as an answer shows it: no secret, and of an address no value of its query.

        Arguments and the path of an address hold secrets too, with many a server: they are for admins.
        """
        if self.is_program:
            args = list(self.args) if to_admin else [MASK] * len(self.args)
            shown = {"command": self.command, "args": args, "env": _masked(self.env)}
            if to_admin and self.allowed_hosts is not None:
                shown["allowed_hosts"] = list(self.allowed_hosts)
            if to_admin and self.readable_paths:
                shown["readable_paths"] = list(self.readable_paths)
            return shown
        url = self.server_url or ""
        return {
            "server_url": _masked_url(url) if to_admin else _origin_of(url),
            "auth_header": self.auth_header,
            "auth_token": _mask(self.auth_token) if self.auth_token else None,
            "custom_headers": _masked(self.custom_headers),
        }

    def with_secrets_of(self, stored: ServerConfiguration) -> ServerConfiguration:
        """Return it with the stored secrets where it only has what was shown of them."""
        url = self.server_url
        if stored.server_url is not None and url in (_masked_url(stored.server_url), _origin_of(stored.server_url)):
            url = stored.server_url
        token = self.auth_token
        if token is not None and stored.auth_token is not None and token == _mask(stored.auth_token):
            token = stored.auth_token
        return replace(
            self,
            server_url=url,
            auth_token=token,
            args=stored.args if self.args and list(self.args) == [MASK] * len(stored.args) else self.args,
            custom_headers=_unmasked(self.custom_headers, stored.custom_headers),
            env=_unmasked(self.env, stored.env),
        )

    def check(self) -> None:
        """See whether its headers and variables can be sent.

        Raises:
            InvalidInput: one cannot; the message names it.
        """
        for name, value in self.headers.items():
            if _HEADER_NAME.fullmatch(name) is None or name.lower() in OWN_HEADERS:
                raise InvalidInput(f"custom_headers: {name!r} is no header that can be set; leave it out.")
            if _HEADER_VALUE.fullmatch(value) is None:
                raise InvalidInput(
                    f"custom_headers.{name}: the value begins or ends with a space, or has a character that is "
                    "not plain ASCII, which no header can carry."
                )
        read_hosts(self.allowed_hosts or ())
        for path in self.readable_paths:
            if not path.startswith("/") or "\0" in path:
                raise InvalidInput(f"readable_paths: {path!r} is no absolute path; write one such as /srv/notes.")
        for name, value in self.env.items():
            if _VARIABLE_NAME.fullmatch(name) is None or "\0" in value:
                raise InvalidInput(f"env: {name!r} is no variable that a program can be given; rename it.")


def _value_of(place: re.Match[str], variables: Mapping[str, str]) -> str:
    name, default = place[1], place[2]
    if name in variables:
        return variables[name]
    if default is None:
        raise InvalidInput(
            f"The server's configuration uses the variable {name}, which is not set: give the agent a secret "
            f"{name}, or a default as in {{{{ {name} | default }}}}."
        )
    return default.strip()


def _mask(value: str) -> str:
    """Return a secret with nothing readable but the names of variables, and the scheme of a token."""
    scheme = found[0] if (found := _SCHEME.match(value)) else ""
    shown, end = scheme, len(scheme)
    for place in _PLACE.finditer(value):
        shown += MASK if place.start() > end else ""
        shown += f"{{{{ {place[1]} }}}}" if place[2] is None else f"{{{{ {place[1]} | {MASK} }}}}"
        end = place.end()
    return shown + (MASK if end < len(value) or not value else "")


def _masked(values: Mapping[str, str]) -> dict[str, str] | None:
    return {name: _mask(value) for name, value in values.items()} or None


def _masked_url(url: str) -> str:
    address, mark, query = url.partition("?")
    return f"{address}{mark}{_QUERY_VALUE.sub(MASK, query)}"


def _origin_of(url: str) -> str:
    """Return an address with nothing readable but its scheme, host and port."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if url.rstrip("/") == origin else f"{origin}/{MASK}"


def _unmasked(values: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    return {
        name: stored[name] if name in stored and value == _mask(stored[name]) else value
        for name, value in values.items()
    }
