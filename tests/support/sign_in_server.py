"""A server of tools that wants somebody to sign in: `python sign_in_server.py http`, with the SDK's OAuth server.

Whoever opens its address is let in at once, unless the file that `SIGN_IN_DENY` names is there. Its tokens are
numbered; one that renews others works once, and the tool `forget` ends all others. While the file that `SIGN_IN_HOLD`
names is there, who renews tokens waits, and `SIGN_IN_HOLD.asked` is there. With `SIGN_IN_IN_VAIN` nobody gets one,
and with `SIGN_IN_CLOSED` no client is registered.
What `SIGN_IN_ISSUER` holds stands behind its own address, in what it says of itself and where browsers come back to.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, AuthorizationCode, RefreshToken, TokenError, construct_redirect_uri
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


class Provider:
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.numbers = itertools.count(1)
        self.named: str | None = None

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id is not None
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: Any) -> str:
        back = str(params.redirect_uri)
        denies = os.environ.get("SIGN_IN_DENY")
        if denies is not None and Path(denies).exists():
            return construct_redirect_uri(back, error="access_denied", state=params.state)
        code = f"code-{next(self.numbers)}"
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=2**40,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(back, code=code, state=params.state, iss=self.named)

    async def load_authorization_code(self, client: Any, authorization_code: str) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client: Any, authorization_code: AuthorizationCode) -> OAuthToken:
        del self.codes[authorization_code.code]
        if "SIGN_IN_IN_VAIN" in os.environ:
            raise TokenError("invalid_grant", "the code is over")
        return self.issue(authorization_code.client_id, authorization_code.resource)

    async def load_refresh_token(self, client: Any, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(self, client: Any, refresh_token: RefreshToken, scopes: list[str]) -> OAuthToken:
        del self.refresh[refresh_token.token]
        hold = os.environ.get("SIGN_IN_HOLD")
        while hold is not None and Path(hold).exists():
            Path(f"{hold}.asked").touch()
            await asyncio.sleep(0.01)
        return self.issue(refresh_token.client_id, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: Any) -> None:
        raise NotImplementedError

    def issue(self, client_id: str, resource: str | None) -> OAuthToken:
        number = next(self.numbers)
        access, refresh = f"access-hush-{number}", f"refresh-hush-{number}"
        self.access[access] = AccessToken(token=access, client_id=client_id, scopes=[], resource=resource)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client_id, scopes=[], resource=resource)
        return OAuthToken(access_token=access, token_type="Bearer", expires_in=3600, refresh_token=refresh)


def make(address: str) -> MCPServer:
    auth = AuthSettings(
        issuer_url=address,
        resource_server_url=f"{address}/mcp",
        client_registration_options=ClientRegistrationOptions(enabled="SIGN_IN_CLOSED" not in os.environ),
        validate_token_resource=True,
    )
    provider = Provider()
    if (ending := os.environ.get("SIGN_IN_ISSUER")) is not None:
        provider.named = address + ending
    server = MCPServer("signed", auth=auth, auth_server_provider=provider)  # type: ignore[arg-type]

    @server.tool()
    def whoami() -> str:
        """Which token was sent"""
        token = get_access_token()
        return token.token.replace("hush", "token") if token is not None else "nobody"

    @server.tool()
    def forget() -> str:
        """End all tokens"""
        provider.access.clear()
        return "forgotten"

    return server


def renamed(application: Any, ending: str) -> Any:
    """Return an application that says of itself that it is called otherwise."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if not scope.get("path", "").startswith("/.well-known/oauth-authorization-server"):
            await application(scope, receive, send)
            return
        said: dict[str, Any] = {}

        async def keep(message: Any) -> None:
            said.update(message)

        await application(scope, receive, keep)
        told = json.loads(said["body"])
        body = json.dumps({**told, "issuer": told["issuer"].rstrip("/") + ending}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(port, flush=True)
    application: Any = make(f"http://127.0.0.1:{port}").streamable_http_app()
    if (ending := os.environ.get("SIGN_IN_ISSUER")) is not None:
        application = renamed(application, ending)
    uvicorn.Server(uvicorn.Config(application, log_level="critical")).run(sockets=[listener])
