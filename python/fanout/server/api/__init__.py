"""The server API: what an application's backend asks the server to do, over HTTP."""

from __future__ import annotations

from aiohttp import web

from fanout.server.api.http import ServerAPIEndpoint
from fanout.server.api.methods import ServerAPI
from fanout.server.api.openapi import add_description
from fanout.server.config import Config

__all__ = ["ServerAPI", "ServerAPIEndpoint", "add_routes"]


def add_routes(
    config: Config, api: ServerAPI, external: web.UrlDispatcher, internal: web.UrlDispatcher
) -> None:
    """Serve the API and its description where the configuration wants them.

    ``internal`` is for what is not for clients; without a port of its own it
    is ``external``.
    """
    settings = config.http_api
    if not settings.disabled:
        ServerAPIEndpoint(
            api,
            key=settings.key,
            insecure=settings.insecure,
            transport_errors=settings.error_mode == "transport",
        ).add_routes(external if settings.external else internal, settings.handler_prefix)
    if config.swagger.enabled:
        add_description(internal, config.swagger.handler_prefix, settings.handler_prefix)
