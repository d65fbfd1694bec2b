"""What is searched for and what is found, in no search engine's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from folkmoot.errors import ToolFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

Category = Literal[
    "company",
    "research paper",
    "news",
    "pdf",
    "github",
    "tweet",
    "personal site",
    "linkedin profile",
    "financial report",
]
"""Kinds of pages that a search can be limited to."""

MOST_RESULTS = 25
"""Results that one search returns at most, however many are asked for."""

SEARCH_TIMEOUT = 30.0
"""Seconds that a search over the network may take."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search. Dates are ISO 8601 texts, `user_location` a two-letter country code."""

    query: str
    num_results: int = 10
    category: Category | None = None
    include_text: bool = False
    include_domains: Sequence[str] | None = None
    exclude_domains: Sequence[str] | None = None
    start_published_date: str | None = None
    end_published_date: str | None = None
    user_location: str | None = None

    @property
    def words(self) -> str:
        """The words to search for.

        Raises:
            ToolFailed: there are none.
        """
        words = clean(self.query).strip()
        if not words:
            raise ToolFailed("The search needs a query; it was empty.")
        return words

    @property
    def limit(self) -> int:
        """How many results to return."""
        return max(1, min(self.num_results, MOST_RESULTS))

    @property
    def included(self) -> list[str]:
        """Hosts to which the search is limited: `https://www.Example.org/a` becomes `example.org`."""
        return _hosts(self.include_domains)

    @property
    def excluded(self) -> list[str]:
        """Hosts that the search leaves out."""
        return _hosts(self.exclude_domains)

    def allows(self, url: str) -> bool:
        """Whether the domain filters let an address through."""
        host = _host(url)
        if any(_within(host, domain) for domain in self.excluded):
            return False
        return not self.included or any(_within(host, domain) for domain in self.included)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page or document that was found. `published` is a date as its source wrote it."""

    title: str
    url: str
    text: str
    published: str | None = None


class Search(Protocol):
    """Something that can be searched."""

    @property
    def source(self) -> str:
        """What was searched, as the model is told."""

    async def search(self, query: SearchQuery) -> list[SearchResult]:
        """Return what was found, best first.

        Raises:
            ToolFailed: the search could not be done.
        """


def clean(text: str) -> str:
    """Return the text without halves of surrogate pairs, which cannot be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _hosts(domains: Sequence[str] | None) -> list[str]:
    return [host for domain in domains or () if (host := _host(domain))]


def _host(address: str) -> str:
    """Return the host of an address or of a bare domain, in lower case and without `www.`."""
    address = clean(address).strip()
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:  # such as an unfinished IPv6 address
        return ""
    return host.removeprefix("*.").removeprefix("www.").rstrip(".")


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
