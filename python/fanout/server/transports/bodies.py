"""Request bodies, within a bound of bytes and of time."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["read_body"]

BODY_TIMEOUT = 10.0     # seconds for a whole body; its head had as long


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body of a request; a refusal with 413 above ``limit`` bytes, with 408 when it is slow."""
    if (request.content_length or 0) > limit:
        raise too_large(limit, request.content_length or 0)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the request's body did not come in time\n") from None
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError):
        refusal = web.HTTPBadRequest(text="the request's body cannot be read\n")
        refusal.force_close()   # where the next request would begin nobody knows
        raise refusal from None
    return bytes(body)


def too_large(limit: int, size: int) -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(
        max_size=limit, actual_size=size, text=f"a body may have at most {limit} bytes\n")
