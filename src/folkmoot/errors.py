"""Every error Folkmoot raises on purpose, and the HTTP status each one answers with.

    FolkmootError                    500
    ├── InvalidInput                 422  a field's value cannot be used
    │   ├── MalformedId              422  an identifier is not of the form <kind>-<uuid4>
    │   ├── EditRefused              422  an edit of a block does not apply to its text
    │   └── AddressRefused           422  an address of somebody's choice does not lie in the public network
    ├── BadRequest                   400  the request asks for something that does not exist here
    ├── Unauthorized                 401
    ├── Forbidden                    403  the key that the request carries may not do this
    ├── CrossSite                    403  a page of another site asks, through the visitor's browser
    ├── NotFound                     404
    ├── Conflict                     409
    ├── PreconditionFailed           412  If-Match names another version
    ├── TooLarge                     413
    ├── UnsupportedFile              415  an uploaded file is of no kind that can be read
    ├── Misdirected                  421  the request is for a name that is not the server's
    ├── PreconditionRequired         428  the block is only overwritten by who says which version was read
    ├── ClientLeft                   499  nobody waits for the answer any more
    ├── StoreError                   503
    │   ├── StoreUnavailable         503  the database cannot be reached, or cannot write
    │   │   ├── StoreMoved           503  the database's file was deleted or replaced
    │   │   └── StoreFull            503  its disk is full
    │   └── StoreOverloaded          503  the wait for the database was too long
    ├── NoRoom                       507  an upload finds no room on the disk
    ├── ProviderError                502  a model's provider failed
    │   ├── ProviderAuthentication   502
    │   ├── ProviderRateLimit        429
    │   ├── ProviderTimeout          504
    │   ├── ProviderRejected         502  the provider refused the request itself
    │   └── ContextOverflow          400  the prompt is longer than the model's context window
    ├── ProxyUnusable                502  the environment names a proxy through which nothing can be asked
    ├── ToolServerFailed             502  a server of tools cannot be reached, or does not do what it should
    ├── SandboxUnavailable           503  code cannot be run on this server
    ├── SandboxBusy                  503  too much code waits to be run
    ├── ToolFailed                        what a tool tells the model when it could not do its work
    │   └── Overtaken                     others changed a block while an agent worked on what it had read of it
    ├── JobFailed                         a job cannot be done, and to try again would not help
    ├── JobDelayed                        a job can be tried again, but not at once
    ├── BackupUnusable                    a file is no backup that can be restored
    └── StartupError                      the server cannot start; one line says why

The HTTP server turns any of them into `{"detail": …}` in one place; nobody else builds an error body.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FolkmootError(Exception):
    """Something went wrong in Folkmoot itself."""

    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **extra: Any) -> None:
        """Keep what the caller is told.

        Args:
            message: one sentence or two: what happened and what to do. The class's docstring when None.
            extra: further keys of the error body, for example `examples` or `current_version`.
        """
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.extra = extra
        super().__init__(self.message)


class InvalidInput(FolkmootError):
    """A value of the request cannot be used."""

    status = 422


class MalformedId(InvalidInput):
    """An identifier does not have the form `<kind>-<uuid4>`."""


class EditRefused(InvalidInput):
    """The edit does not apply to the block's text; nothing was changed."""


class AddressRefused(InvalidInput):
    """The address does not lie in the public network."""


class BadRequest(FolkmootError):
    """The request asks for something that this server does not have."""

    status = 400


class Unauthorized(FolkmootError):
    """The server needs an API key: send it as `Authorization: Bearer <key>`, or sign in at /login."""

    status = 401


class Forbidden(FolkmootError):
    """The key that was sent may not do this."""

    status = 403


class CrossSite(FolkmootError):
    """A page of another site cannot change anything here, unless FOLKMOOT_ALLOWED_ORIGINS names it."""

    status = 403


class NotFound(FolkmootError):
    """There is no such thing."""

    status = 404


class SlowRequest(FolkmootError):
    """The request did not come in time."""

    status = 408


class Conflict(FolkmootError):
    """The request does not fit what is stored."""

    status = 409


class PreconditionFailed(FolkmootError):
    """The block has moved on to another version."""

    status = 412


class TooLarge(FolkmootError):
    """The request body is too large."""

    status = 413


class UnsupportedFile(FolkmootError):
    """The file is of no kind that can be read."""

    status = 415


class Misdirected(FolkmootError):
    """The server does not answer under this name."""

    status = 421


class PreconditionRequired(FolkmootError):
    """The block is only overwritten by who says which version was read."""

    status = 428


class HeadTooLarge(FolkmootError):
    """The request's head is too large."""

    status = 431


class ClientLeft(FolkmootError):
    """The client went away before it was answered."""

    status = 499


class ServerFull(FolkmootError):
    """The server has as many connections as it takes."""

    status = 503


class ServerStopped(FolkmootError):
    """The server was stopped before the run's end."""

    status = 503


class StoreError(FolkmootError):
    """The store could not do its work; nothing was changed."""

    status = 503


class StoreUnavailable(StoreError):
    """The database cannot be reached or cannot write just now; nothing was changed."""


class StoreMoved(StoreUnavailable):
    """The database's file was deleted or replaced under the running server; nothing was changed."""


class StoreFull(StoreUnavailable):
    """The disk of the database is full; nothing was changed."""


class StoreOverloaded(StoreError):
    """The database has more waiting work than it can take; nothing was changed. Try again in a moment."""


class NoRoom(FolkmootError):
    """There is no room on the server's disk for this file; nothing was changed."""

    status = 507


class ProviderError(FolkmootError):
    """The model's provider failed."""

    status = 502


class ProviderAuthentication(ProviderError):
    """The model's provider did not accept the key."""


class ProviderRateLimit(ProviderError):
    """The model's provider is limiting requests."""

    status = 429


class ProviderTimeout(ProviderError):
    """The model's provider did not answer in time."""

    status = 504


class ProviderRejected(ProviderError):
    """The model's provider refused the request."""


class ContextOverflow(ProviderError):
    """The prompt is longer than the model's context window."""

    status = 400


class ProxyUnusable(FolkmootError):
    """The environment names a proxy through which nothing can be asked."""

    status = 502


class ToolServerFailed(FolkmootError):
    """A server of tools cannot be reached, or does not do what the protocol says."""

    status = 502


class SandboxUnavailable(FolkmootError):
    """Code cannot be run on this server."""

    status = 503


class SandboxBusy(FolkmootError):
    """Too much code waits to be run; try again in a moment."""

    status = 503


class ToolFailed(FolkmootError):
    """A tool could not do its work; the message is for the model to read."""


class Overtaken(ToolFailed):
    """Others have changed the block since it was read; nothing was changed."""


class JobFailed(FolkmootError):
    """The job cannot be done; to try again would not help. The message stands on the job."""


class JobDelayed(FolkmootError):
    """The job cannot be done just now."""

    def __init__(self, message: str, seconds: float) -> None:
        """Say why, and in how many seconds it may be tried again at the earliest."""
        super().__init__(message)
        self.seconds = seconds


class BackupUnusable(FolkmootError):
    """The file is no backup that can be restored."""


class StartupError(FolkmootError):
    """The server cannot start."""
