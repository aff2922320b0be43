"""What is asked of every request before its transport looks at it.

The origin check and CORS, the method, and whether another connection may come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from fanout.server.log import logger
from fanout.server.transports.connections import Connections

__all__ = ["Admission", "Handler"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Headers = Mapping[str, str]
SHOWN = 100     # characters of an origin in the log


class Admission:
    """The checks of one server.

    ``may_come_from`` is asked with a request's ``Origin`` and ``Host``.
    """

    def __init__(
        self, connections: Connections, may_come_from: Callable[[str | None, str], bool]
    ) -> None:
        self._connections = connections
        self._may_come_from = may_come_from

    def guard(
        self, handler: Handler, methods: tuple[str, ...], options: Headers | None = None
    ) -> Handler:
        """``handler``, for requests that pass; its refusals get the CORS headers too.

        ``options`` are the headers of the answer to OPTIONS; None refuses that
        method.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.method not in methods and (
                options is None or request.method != "OPTIONS"
            ):
                raise web.HTTPMethodNotAllowed(request.method, methods)
            origin = request.headers.get("Origin")
            if _is_embedded(request) or not self._may_come_from(
                origin, request.headers.get("Host", "")
            ):
                logger.info(
                    "a connection to %s is refused: its origin %s is not in client.allowed_origins",
                    request.path, ascii(origin or "(another site's)")[:SHOWN])
                raise web.HTTPForbidden(text="this origin may not connect\n")
            if request.method == "OPTIONS":
                return web.Response(status=204, headers={**cors(request), **(options or {})})
            try:
                response = await handler(request)
            except web.HTTPException as refusal:
                refusal.headers.update(cors(request))
                raise
            if not response.prepared:
                response.headers.update(cors(request))
            return response

        return handle

    def take_another(self) -> None:
        """Raise a refusal with status 503 when no other connection may come.

        To be called right before the connection is taken over: what is awaited
        in between lets others pass that are not counted yet.
        """
        refusal = self._connections.refusal()
        if refusal:
            raise web.HTTPServiceUnavailable(text=f"{refusal}\n")


def _is_embedded(request: web.Request) -> bool:
    """Whether a page of another origin has it as an image, a frame or a link (Fetch Metadata).

    Browsers send no Origin then, but cookies; whatever may connect sends one.
    """
    return not request.headers.get("Origin") and (
        request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site"))


def cors(request: web.Request) -> dict[str, str]:
    """The headers that let a page of an allowed origin read the answer."""
    origin = request.headers.get("Origin")
    if not origin:
        return {}
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    asked = request.headers.get("Access-Control-Request-Headers")
    if asked:
        headers["Access-Control-Allow-Headers"] = asked
    return headers
