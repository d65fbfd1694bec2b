"""Search by Exa, through its own client library."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from typing import Any

import httpx

from folkmoot.errors import ToolFailed
from folkmoot.tools.search.query import SEARCH_TIMEOUT, SearchQuery, SearchResult

EXA_ADDRESS = "https://api.exa.ai"
FULL_TEXT = 10_000

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
        options = exa_options(query)
        # The library takes up to seconds to import.
        library = await asyncio.to_thread(importlib.import_module, "exa_py")
        try:
            async with (
                asyncio.timeout(self._timeout),
                library.AsyncExa(self._key, self._address, timeout=self._timeout) as client,
            ):
                answer = await client.search(**options)
            results = [_result(found) for found in answer.results]
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ToolFailed(f"Exa did not answer within {self._timeout:g} seconds.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolFailed(f"Exa could not be reached ({type(error).__name__}).") from error
        except ValueError as error:
            raise ToolFailed(self._explain(str(error))) from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ToolFailed("Exa's answer was not of the form that was expected.") from error
        return [result for result in results if result.url and query.allows(result.url)][: query.limit]

    def _explain(self, message: str) -> str:
        """Turn the library's error into a sentence that does not hold the key."""
        match = re.match(r"Request failed with status code (\d+): (.*)", message, re.DOTALL)
        if match is None:
            return f"Exa's answer could not be used: {self._hide(message)}"
        status = int(match[1])
        fault = _FAULTS.get(status) or f"Exa refused the search with status {status}"
        said = self._hide(_said(match[2]))
        return f"{fault} (it said: {said})." if said else f"{fault}."

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "<key>")[:300]


def exa_options(query: SearchQuery) -> dict[str, Any]:
    """Return the arguments of the library's `search` for a query."""
    category = _CATEGORIES.get(query.category or "", query.category)
    domains = query.included or _CATEGORY_DOMAINS.get(query.category or "")
    options = {
        "query": query.words,
        "num_results": query.limit,
        "category": category if category in _KNOWN else None,
        "contents": {"text": {"max_characters": FULL_TEXT}} if query.include_text else {"highlights": True},
        "include_domains": domains,
        # Exa takes one of the two lists; the results are filtered by both.
        "exclude_domains": None if domains else query.excluded,
        "start_published_date": query.start_published_date,
        "end_published_date": query.end_published_date,
        "user_location": query.user_location,
    }
    return {key: value for key, value in options.items() if value}


def _result(found: Any) -> SearchResult:
    text = found.text or "\n…\n".join(found.highlights or []) or found.summary or ""
    return SearchResult(str(found.title or found.url), str(found.url or ""), str(text), found.published_date)


def _said(body: str) -> str:
    """Return the message in an error body of Exa's, or nothing when it is a page of HTML."""
    try:
        value = json.loads(body)
    except ValueError:
        return "" if body.lstrip().startswith("<") else body.strip()
    said = value.get("error") or value.get("message") if isinstance(value, dict) else None
    return str(said) if said else ""
