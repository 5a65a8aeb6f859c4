"""What stands before every page: which requests are answered at all, and what a browser may do with the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harmony_core.ui.entrance import Entrance

# Names of this machine as a browser on it, or at the other end of a tunnel, may call it. The port is the tunnel's.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")

HEADERS = {
    # Scripts and styles are files of this server, and no text can become one. Trusted types refuse `innerHTML`.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_NO_KEY = "This page is its owner's alone: open the address that `harmony ui` printed, or the one in its file.\n"
_WRONG = "The token is wrong or was used: take the next address from the file that `harmony ui` named.\n"


class Guard:
    """An ASGI application that hands on what may be answered.

    Args:
        app: answers the paths within the secret folder, which it does not see.
        entrance: knows who may.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self._app, self._entrance = app, entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, as ASGI asks it."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        request = Request(scope)
        answer = refused(request.method, request.headers) or self._entry(request)
        if answer is not None:
            await answer(scope, receive, guarded)
            return
        prefix = f"/{self._entrance.folder}"
        inner = dict(scope, path=scope["path"].removeprefix(prefix), root_path="")
        await self._app(inner, receive, guarded)

    def _entry(self, request: Request) -> Response | None:
        """The answer to one who has not entered; None for one who has."""
        path, folder = request.url.path, f"/{self._entrance.folder}/"
        if path == "/favicon.ico":
            # Browsers ask for it by themselves.
            return Response(status_code=204)
        if path == "/enter":
            secret = self._entrance.enter(request.query_params.get("token", ""))
            if secret is None:
                return PlainTextResponse(_WRONG, 403)
            # A redirection would carry on whence the browser came, which withholds a strict cookie after a link in
            # another page; this page is the server's own.
            answer = HTMLResponse(
                f'<!doctype html><html lang="en"><meta charset="utf-8"><title>HARMONY</title>'
                f'<meta http-equiv="refresh" content="0; url={folder}"><p><a href="{folder}">HARMONY</a></p></html>'
            )
            answer.set_cookie(self._entrance.cookie, secret, path=folder, httponly=True, samesite="strict")
            return answer
        if path.startswith(folder) and self._entrance.knows(request.cookies.get(self._entrance.cookie)):
            return None
        return PlainTextResponse(_NO_KEY, 403)


def refused(method: str, headers: Headers | Mapping[str, str]) -> Response | None:
    """Why a request is not looked at, whoever sends it; None for one that is.

    Args:
        method: nothing here changes anything, so only what reads is answered.
        headers: `host` must be this machine's, so that no name of a stranger's can be made to mean it; an `origin`, and
            what a page fetches, must be this page's own.
    """
    if method not in ("GET", "HEAD"):
        return PlainTextResponse("This page only reads.\n", 405, {"allow": "GET, HEAD"})
    host = headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        return PlainTextResponse("Call this machine 127.0.0.1 or localhost, here or at the tunnel's other end.\n", 421)
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return PlainTextResponse("Another page asks.\n", 403)
    fetched = headers.get("sec-fetch-mode", "navigate") != "navigate"
    if fetched and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return PlainTextResponse("Another page asks.\n", 403)
    return None
