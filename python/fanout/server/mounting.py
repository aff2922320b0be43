"""Clients' endpoints in an aiohttp application that exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from fanout.node import Node
from fanout.server.config import Config, HttpServerConfig, made
from fanout.server.log import logger
from fanout.server.service import Service

__all__ = ["mount"]


def mount(
    application: web.Application, node: Node,
    config: Config | Mapping[str, Any] | None = None,
) -> None:
    """Serve ``node`` to clients on the port of an aiohttp application.

    The routes are those that ``config`` enables, as in
    :class:`fanout.server.Server`; ``http_server`` and ``log`` have no effect,
    for the application listens. The node is run when the application starts,
    unless it runs already, and shut down behind the last of the application's
    requests. When the application shuts down its clients are asked to leave,
    for at most ``shutdown.timeout``::

        application = web.Application()
        fanout.server.mount(application, node)
        web.run_app(application)

    To be called before the application starts; raises ``ValueError`` for a
    node that is served already, and
    :exc:`~fanout.server.config.ConfigError`.
    """
    config, warnings = made(config)
    if config.http_server != HttpServerConfig():
        warnings.append("http_server: has no effect, the application listens")
    service = Service(config, node)
    service.add_routes(application.router, application.router)
    end = 0.0

    async def start(application: web.Application) -> None:
        for warning in warnings:
            logger.warning("%s", warning)
        await service.start()

    async def leave(application: web.Application) -> None:
        nonlocal end
        end = await service.leave()

    async def stop(application: web.Application) -> None:
        await service.end(end)
        await service.close()

    application.on_startup.append(start)
    application.on_shutdown.append(leave)
    application.on_cleanup.append(stop)
