"""What a provider's API is to the scripted model: `openai_wire` and `anthropic_wire` are two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Wire(Protocol):
    """An API's way to say things; what the model says comes as a message in OpenAI's form."""

    PATH: str
    """Where chat requests are posted to."""

    def violations_of(self, body: Any) -> list[str]:
        """Return what the API would refuse in a chat request."""
        ...

    def conversation_of(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a sound request's messages in OpenAI's form."""
        ...

    def completion(
        self, message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = 100
    ) -> dict[str, Any]:
        """Return a whole answer."""
        ...

    def chunks(
        self, message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = 100
    ) -> Iterator[bytes]:
        """Yield a streamed answer's pieces."""
        ...

    def broken_off(self) -> bytes:
        """Return the event by which a stream tells that it has failed."""
        ...

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]:
        """Return an error's body."""
        ...

    def too_long(self, tokens: int, window: int) -> dict[str, Any]:
        """Return the body of the refusal of a prompt that does not fit."""
        ...
