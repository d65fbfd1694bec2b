"""Later."""

from folkmoot.server.web.pages import page_router

router = page_router()
