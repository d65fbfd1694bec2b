"""Search by Exa, through its HTTP API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2

from folkmoot.errors import ProxyUnusable, ToolFailed
from folkmoot.outbound.proxies import client_for
from folkmoot.tools.search.query import SEARCH_TIMEOUT, SearchQuery, SearchResult

EXA_ADDRESS = "https://api.exa.ai"
FULL_TEXT = 10_000
LARGEST_ANSWER = 5_000_000
"""Bytes of an answer that are read."""

_CATEGORIES = {"research paper": "publication", "linkedin profile": "people"}
"""Names that Exa has changed."""

_CATEGORY_DOMAINS = {"github": ["github.com"], "tweet": ["x.com", "twitter.com"]}
"""Categories that Exa no longer has, as domains."""

_KNOWN = frozenset({"company", "news", "publication", "personal site", "financial report", "people"})

_FAULTS = {
    401: "Exa did not accept the API key in EXA_API_KEY",
    402: "Exa refuses the search: the account has no credit left",
    403: "Exa did not accept the API key in EXA_API_KEY",
    429: "Exa is limiting requests; try again in a moment",
}


class ExaSearch:
    """Exa with one key."""

    source = "exa"

    def __init__(self, key: str, address: str = EXA_ADDRESS, timeout: float = SEARCH_TIMEOUT) -> None:
        """Prepare searches; nothing is sent yet.

        Args:
            key: the API key.
            address: Exa's address, or that of a stand-in.
            timeout: seconds for one search.
        """
        self._key = key
        self._address = address.rstrip("/")
        self._timeout = timeout

    async def search(self, query: SearchQuery) -> list[SearchResult]:
        """Ask Exa."""
        answer = await self._ask(exa_request(query))
        try:
            results = [_result(found) for found in answer["results"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise ToolFailed("Exa's answer was not of the form that was expected.") from error
        return [result for result in results if result.url and query.allows(result.url)][: query.limit]

    async def _ask(self, body: dict[str, Any]) -> Any:
        """Send one request and return the JSON that comes back."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                client_for(self._address, httpx2.AsyncClient, timeout=self._timeout) as client,
                client.stream(
                    "POST", f"{self._address}/search", json=body, headers={"x-api-key": self._key}
                ) as response,
            ):
                content = bytearray()
                async for piece in response.aiter_bytes():
                    content += piece
                    if len(content) > LARGEST_ANSWER:
                        raise ToolFailed(f"Exa sent more than {LARGEST_ANSWER:,} bytes.")
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise ToolFailed(f"Exa did not answer within {self._timeout:g} seconds.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ToolFailed(f"Exa could not be reached ({type(error).__name__}).") from error
        except ProxyUnusable as error:
            raise ToolFailed(error.message) from error
        except UnicodeEncodeError as error:
            raise ToolFailed("EXA_API_KEY holds characters that no key has.") from error
        text = content.decode(errors="replace")
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            raise ToolFailed(self._explain(response.status_code, text))
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ToolFailed(f"Exa's answer could not be used: {self._hide(text)}") from error

    def _explain(self, status: int, body: str) -> str:
        """Say what a refusal means, without the key that it may hold."""
        fault = _FAULTS.get(status) or f"Exa refused the search with status {status}"
        said = self._hide(_said(body))
        return f"{fault} (it said: {said})." if said else f"{fault}."

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "<key>")[:300]


def exa_request(query: SearchQuery) -> dict[str, Any]:
    """Return the body of the request for a query."""
    category = _CATEGORIES.get(query.category or "", query.category)
    domains = query.included or _CATEGORY_DOMAINS.get(query.category or "")
    options = {
        "query": query.words,
        "numResults": query.limit,
        "category": category if category in _KNOWN else None,
        "contents": {"text": {"maxCharacters": FULL_TEXT}} if query.include_text else {"highlights": True},
        "includeDomains": domains,
        # Exa takes one of the two lists; the results are filtered by both.
        "excludeDomains": None if domains else query.excluded,
        "startPublishedDate": query.start_published_date,
        "endPublishedDate": query.end_published_date,
        "userLocation": query.user_location,
    }
    return {key: value for key, value in options.items() if value}


def _result(found: dict[str, Any]) -> SearchResult:
    text = found.get("text") or "\n…\n".join(found.get("highlights") or []) or found.get("summary") or ""
    url = str(found.get("url") or "")
    published = found.get("publishedDate")
    return SearchResult(str(found.get("title") or url), url, str(text), str(published) if published else None)


def _said(body: str) -> str:
    """Return the message in an error body of Exa's, or nothing when it is a page of HTML."""
    try:
        value = json.loads(body)
    except ValueError:
        return "" if body.lstrip().startswith("<") else body.strip()
    said = value.get("error") or value.get("message") if isinstance(value, dict) else None
    return str(said) if said else ""
