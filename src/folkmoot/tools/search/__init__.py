"""Web search behind one interface: Exa, a SearXNG server, or a folder of documents.

    search = choose_search(settings, variables, os.environ)
    results = await search.search(SearchQuery("memory blocks"))
    text = render(query, results, search.source)

A search that fails raises `ToolFailed` with a message for the model to read.
"""

from folkmoot.tools.search.choose import choose_search
from folkmoot.tools.search.query import Search, SearchQuery, SearchResult
from folkmoot.tools.search.render import render

__all__ = ["Search", "SearchQuery", "SearchResult", "choose_search", "render"]
