"""Encryption of what must not be read from the database: the variables of agents' tools.

Fernet of the `cryptography` package, with `FOLKMOOT_SECRET_KEY` or a key file in the data folder that is made when
first needed. Several processes on one database need the same key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.errors import StoreUnavailable
from folkmoot.store.files import KEY_FILE, make_private_folder

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class Sealer:
    """Seals variables with one key."""

    def __init__(self, secret: str | None, folder: Path) -> None:
        """Use `secret` when there is one, else the key file in `folder`."""
        self._secret = secret
        self._path = folder / KEY_FILE
        self._fernet: Fernet | None = None

    def seal(self, variables: Mapping[str, str]) -> str | None:
        """Return the variables as text that only `unseal` can read; None for none."""
        if not variables:
            return None
        return self._cipher().encrypt(json.dumps(variables).encode()).decode()

    def unseal(self, sealed: str | None) -> dict[str, str]:
        """Return the variables that were sealed.

        Raises:
            StoreUnavailable: they were sealed with another key.
        """
        if not sealed:
            return {}
        from cryptography.fernet import InvalidToken

        try:
            opened: Any = json.loads(self._cipher().decrypt(sealed.encode()))
        except InvalidToken as error:
            raise StoreUnavailable(
                "The secrets here were encrypted with another key; set FOLKMOOT_SECRET_KEY to that one."
            ) from error
        return dict(opened)

    def fingerprint(self) -> str | None:
        """Return what tells this key from another, without telling it; None when there is no key yet."""
        if self._secret is None and not self._path.exists():
            return None
        return hashlib.sha256(b"folkmoot key fingerprint\0" + self._key()).hexdigest()[:16]

    def _cipher(self) -> Fernet:
        if self._fernet is None:
            from cryptography.fernet import Fernet

            self._fernet = Fernet(base64.urlsafe_b64encode(self._key()))
        return self._fernet

    def _key(self) -> bytes:
        return hashlib.sha256((self._secret or self._key_file()).encode()).digest()

    def _key_file(self) -> str:
        """Return the key in the file, which is made first when there is none."""
        if not self._path.exists():
            self._make_key_file()
        if not (secret := self._path.read_text().strip()):
            raise StoreUnavailable(f"{self._path} is empty; put the key back, or delete the file for a new one.")
        return secret

    def _make_key_file(self) -> None:
        make_private_folder(self._path.parent)
        # Linked into place whole, so that a process that starts at the same moment never reads half a key.
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(new, self._path)
        new.unlink()
