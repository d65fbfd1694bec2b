"""Search by a SearXNG server, through its JSON format."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2

from folkmoot.errors import ProxyUnusable, ToolFailed
from folkmoot.outbound.proxies import client_for
from folkmoot.tools.search.query import SEARCH_TIMEOUT, SearchQuery, SearchResult

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_ANSWER = 5_000_000
"""Bytes of an answer that are read."""

_CATEGORIES = {"news": "news", "research paper": "science"}
"""SearXNG's own categories for ours."""

_OPERATORS = {
    "github": "site:github.com",
    "linkedin profile": "site:linkedin.com",
    "pdf": "filetype:pdf",
    "tweet": "site:x.com",
}
"""Search operators for categories that SearXNG does not have."""


class SearxngSearch:
    """One SearXNG server."""

    source = "searxng"

    def __init__(self, address: str, timeout: float = SEARCH_TIMEOUT) -> None:
        """Prepare searches; nothing is sent yet.

        Args:
            address: the server's address, with or without `/search`.
            timeout: seconds for one search.
        """
        address = address.strip()
        self._address = (address if "://" in address else f"http://{address}").rstrip("/").removesuffix("/search")
        self._timeout = timeout

    async def search(self, query: SearchQuery) -> list[SearchResult]:
        """Ask the server."""
        answer = await self._ask(searxng_parameters(query))
        found = answer.get("results")
        if not isinstance(found, list):
            raise ToolFailed(self._stranger())
        results = [_result(entry) for entry in found if isinstance(entry, dict) and entry.get("url")]
        if not results and (silent := _silent_engines(answer)):
            raise ToolFailed(f"None of the search engines behind SearXNG answered: {silent}.")
        allowed = [result for result in results if query.allows(result.url)]
        return [result for result in allowed if _in_time(query, result.published)][: query.limit]

    async def _ask(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Send one request and return the JSON object that comes back."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                client_for(self._address, httpx2.AsyncClient, timeout=self._timeout, follow_redirects=True) as client,
                client.stream("GET", f"{self._address}/search", params=parameters) as response,
            ):
                self._check(response.status_code)
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        raise ToolFailed(f"{self._name()} sent more than {LARGEST_ANSWER:,} bytes.")
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise ToolFailed(f"{self._name()} did not answer within {self._timeout:g} seconds.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ToolFailed(
                f"{self._name()} could not be reached ({type(error).__name__}); FOLKMOOT_SEARCH_URL sets its address."
            ) from error
        except ProxyUnusable as error:
            raise ToolFailed(error.message) from error
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ToolFailed(self._stranger()) from error
        if not isinstance(answer, dict):
            raise ToolFailed(self._stranger())
        return answer

    def _check(self, status: int) -> None:
        """Raise for a status other than success."""
        if status == httpx2.codes.FORBIDDEN:
            raise ToolFailed(
                f"{self._name()} answered 403: its JSON format is most likely switched off. "
                "Add `json` to `formats` under `search` in its settings.yml and restart it."
            )
        if status == httpx2.codes.TOO_MANY_REQUESTS:
            raise ToolFailed(f"{self._name()} is limiting requests; try again in a moment.")
        if status != httpx2.codes.OK:
            raise ToolFailed(f"{self._name()} answered with status {status}.")

    def _name(self) -> str:
        """Name the server without a password that its address may hold."""
        try:
            host = urlsplit(self._address).netloc.rpartition("@")[2]
        except ValueError:
            host = ""
        return f"SearXNG at {host}" if host else "SearXNG"

    def _stranger(self) -> str:
        return f"{self._name()} did not answer as SearXNG does; is it one? FOLKMOOT_SEARCH_URL sets its address."


def searxng_parameters(query: SearchQuery) -> dict[str, str]:
    """Return the parameters of the request for a query; domain filters become `site:` operators."""
    words = [query.words]
    if operator := _OPERATORS.get(query.category or ""):
        words.append(operator)
    if sites := [f"site:{domain}" for domain in query.included]:
        words.append(sites[0] if len(sites) == 1 else f"({' OR '.join(sites)})")
    words += [f"-site:{domain}" for domain in query.excluded]
    parameters = {"q": " ".join(words), "format": "json"}
    if category := _CATEGORIES.get(query.category or ""):
        parameters["categories"] = category
    return parameters


def _result(entry: Mapping[str, Any]) -> SearchResult:
    published = entry.get("publishedDate")
    return SearchResult(
        title=str(entry.get("title") or entry["url"]),
        url=str(entry["url"]),
        text=str(entry.get("content") or ""),
        published=str(published) if published else None,
    )


def _in_time(query: SearchQuery, published: str | None) -> bool:
    """Whether a page's day lies in the time asked for; most engines tell none, and such pages are kept."""
    if not published:
        return True
    day = published[:10]
    start, end = (query.start_published_date or "")[:10], (query.end_published_date or "")[:10]
    return (not start or day >= start) and (not end or day[: len(end)] <= end)


def _silent_engines(answer: Mapping[str, Any]) -> str:
    """List the engines that did not answer, with their reasons: `google (CAPTCHA), brave (timeout)`."""
    engines = answer.get("unresponsive_engines")
    pairs = [engine for engine in engines if isinstance(engine, list)] if isinstance(engines, list) else []
    return ", ".join(f"{pair[0]} ({pair[1]})" for pair in pairs[:10] if len(pair) == 2)
