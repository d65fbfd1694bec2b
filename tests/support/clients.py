"""Clients of a server, at hand at once.

A client reads the machine's certificates when it is made, which takes longer than most tests; none of these speaks TLS.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx
from letta_client import AsyncLetta, DefaultAsyncHttpxClient, DefaultHttpxClient, Letta

from support.polling import PATIENCE

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def official_client(url: str, *, api_key: str = "unused", max_retries: int = 0) -> Letta:
    """Return the official client of the 1.x line; it does not retry, so that a fault shows."""
    http = DefaultHttpxClient(base_url=url, verify=NO_CERTIFICATES)
    return Letta(base_url=url, api_key=api_key, max_retries=max_retries, http_client=http)


def official_async_client(url: str, *, api_key: str = "unused", max_retries: int = 0) -> AsyncLetta:
    """Return the official client's asynchronous face."""
    http = DefaultAsyncHttpxClient(base_url=url, verify=NO_CERTIFICATES)
    return AsyncLetta(base_url=url, api_key=api_key, max_retries=max_retries, http_client=http)


def plain_client(url: str, **options: Any) -> httpx.Client:
    """Return a plain HTTP client, for what no official client would send."""
    return httpx.Client(base_url=url, timeout=PATIENCE, verify=NO_CERTIFICATES, **options)


def plain_async_client(url: str, **options: Any) -> httpx.AsyncClient:
    """Return a plain HTTP client that does any number of things at once."""
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, verify=NO_CERTIFICATES, **options)
