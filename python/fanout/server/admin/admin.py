"""The admin page of one server, and what the server tells the pages of others."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from fanout.node import Node
from fanout.server.admin.answers import NodeAnswers
from fanout.server.admin.endpoints import AdminEndpoints
from fanout.server.admin.sampler import Sampler
from fanout.server.admin.sessions import Sessions
from fanout.server.admin.system import System
from fanout.server.api import ServerAPI
from fanout.server.config import Config
from fanout.server.rules import ChannelSource

__all__ = ["Admin"]


class Admin:
    """Also without a page of its own it answers those of the other nodes.

    ``draining`` says whether the server takes no more clients.
    """

    def __init__(
        self, config: Config, node: Node, channels: ChannelSource, draining: Callable[[], bool]
    ) -> None:
        self._config = config.admin
        self._sampler = Sampler(node)
        NodeAnswers(node, self._sampler, draining)
        self._system = System(node)
        self._api = ServerAPI(node, channels)    # whose calls are not the applications'

    def add_routes(self, external: web.UrlDispatcher, internal: web.UrlDispatcher) -> None:
        """Serve the page where the configuration wants it."""
        config = self._config
        if config.enabled:
            sessions = None if config.insecure else Sessions(config.password, config.secret)
            endpoints = AdminEndpoints(
                self._system, self._api, sessions, config.handler_prefix)
            endpoints.add_routes(external if config.external else internal)

    def start(self) -> None:
        """Begin to keep figures; the node runs."""
        if self._config.enabled:
            self._sampler.start()

    def stop(self) -> None:
        self._sampler.stop()
