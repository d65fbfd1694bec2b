"""Sign-ins to servers of tools that somebody waits for, in the test's own process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata
from pydantic import AnyHttpUrl, AnyUrl

from folkmoot.errors import ToolServerFailed
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.tools.mcp.authorizations import Authorization, Renewals, SignIn
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.servers import create_server, delete_server, find_server, update_server
from support.fixtures import one_store
from support.polling import PATIENCE
from support.stores import open_default

AUTHOR = Author("api", name="test")


@one_store
@pytest.mark.parametrize("what", ["deleted", "moved"])
async def test_who_waits_for_a_sign_in_hears_at_once_that_it_is_given_up(
    what: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("folkmoot.tools.mcp.authorizations.LOOK_AGAIN_SECONDS", 10 * PATIENCE)
    store, sealer = await open_default(database_url), Sealer("k", tmp_path)
    configuration = ServerConfiguration("streamable_http", server_url="https://example.com/mcp")
    server = await store.write(lambda transaction: create_server(transaction, "s", configuration, AUTHOR, sealer))

    async def give_up(transaction: Transaction) -> None:
        if what == "deleted":
            await delete_server(transaction, server.id)
        else:
            current = await find_server(transaction, server.id, sealer, lock=True)
            elsewhere = replace(configuration, server_url="https://example.org/mcp")
            await update_server(transaction, current, "s", elsewhere, AUTHOR, sealer)

    sign_in = SignIn(store, sealer, server.id)
    await sign_in.show("https://example.com/authorize?state=some")
    looked, read = asyncio.Event(), store.engine.read

    async def tell(*given: Any) -> Any:
        found = await read(*given)
        looked.set()
        return found

    monkeypatch.setattr(store.engine, "read", tell)
    waiting = asyncio.create_task(sign_in.wait())
    await looked.wait()
    await store.write(give_up)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ToolServerFailed, match="given up"):
            await waiting
    await store.close()


@one_store
@pytest.mark.parametrize(
    ("supported", "said", "sent"),
    [
        (None, None, "client_secret_basic"),
        (["none", "client_secret_post", "client_secret_basic"], None, "client_secret_basic"),
        (["client_secret_post"], None, "client_secret_post"),
        (["none"], None, None),
        (None, "client_secret_post", "client_secret_post"),
    ],
)
async def test_a_secret_of_which_a_server_does_not_say_how_to_send_it_is_sent_as_the_standard_has_it(
    supported: list[str] | None, said: str | None, sent: str | None, database_url: str, tmp_path: Path
) -> None:
    store, sealer, address = await open_default(database_url), Sealer("k", tmp_path), "https://example.com/mcp"
    configuration = ServerConfiguration("streamable_http", server_url=address)
    server = await store.write(lambda transaction: create_server(transaction, "s", configuration, AUTHOR, sealer))
    kept = Authorization(store, sealer, server.id, "", address, Renewals(allow_private=False))
    context = kept.auth()._provider.context
    url = AnyHttpUrl("https://example.com/x")
    context.oauth_metadata = OAuthMetadata(
        issuer=url, authorization_endpoint=url, token_endpoint=url, token_endpoint_auth_methods_supported=supported
    )
    context.client_info = OAuthClientInformationFull(
        client_id="c",
        client_secret="hush",
        redirect_uris=[AnyUrl("https://here.example/back")],
        token_endpoint_auth_method=said,
    )
    await kept.set_client_info(context.client_info)
    data, headers = context.prepare_token_auth({})
    found = "client_secret_basic" if "Authorization" in headers else "client_secret_post" if data else None
    assert found == sent
    await store.close()
