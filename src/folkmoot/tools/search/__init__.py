"""Web search behind one interface: Exa, a SearXNG server, or a folder of documents.

    search = choose_search(settings, variables, os.environ)
    results = await search.search(SearchQuery("memory blocks"))
    text = render(query, results, search.source)

A search that fails raises `ToolFailed` with a message for the model to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.tools.search.offline import offline_search
from folkmoot.tools.search.query import Search, SearchQuery, SearchResult
from folkmoot.tools.search.render import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from folkmoot.settings import Settings

__all__ = ["Search", "SearchQuery", "SearchResult", "choose_search", "render"]

EXA_KEY = "EXA_API_KEY"


def choose_search(settings: Settings, variables: Mapping[str, str], environ: Mapping[str, str]) -> Search:
    """Return Exa with the agent's key, else with the server's, else SearXNG, else the folder of documents.

    Args:
        settings: the server's settings.
        variables: the agent's own tool variables.
        environ: the server's environment variables.
    """
    for where in (variables, environ):
        if key := where.get(EXA_KEY, "").strip():
            from folkmoot.tools.search.exa import ExaSearch  # HTTP clients only where they are used

            return ExaSearch(key)
    if settings.search_url:
        from folkmoot.tools.search.searxng import SearxngSearch

        return SearxngSearch(settings.search_url)
    return offline_search(settings.search_folder)
