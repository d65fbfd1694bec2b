"""What the retired server encrypted: AES-256-GCM with a key made of a passphrase."""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

_SALT, _NONCE, _ROUNDS = 16, 12, 100_000


def decrypt(sealed: str, passphrase: str | None) -> str | None:
    """Return the text of a sealed value; one that was never sealed as it is, None where the key is another.

    Args:
        sealed: Base64 of salt, nonce, ciphertext and tag, or a plain text.
        passphrase: LETTA_ENCRYPTION_KEY of the server that sealed it.
    """
    try:
        data = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        return sealed
    if len(data) < _SALT + _NONCE + 16:
        return sealed
    if passphrase is None:
        return None
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce, rest = data[:_SALT], data[_SALT : _SALT + _NONCE], data[_SALT + _NONCE :]
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, rest, None).decode()
    except (InvalidTag, ValueError):
        return None


@lru_cache(maxsize=64)
def _key(passphrase: str, salt: bytes) -> bytes:
    from hashlib import pbkdf2_hmac

    return pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS, 32)
