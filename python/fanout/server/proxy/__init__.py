"""Proxies: the application's backend is asked over HTTP what clients may do.

Events, requests and answers are those of Centrifugo's proxies; see
``docs/proxy.md``.
"""

from fanout.server.proxy.proxies import ProxiedClient, Proxies, ProxyStats

__all__ = ["ProxiedClient", "Proxies", "ProxyStats"]
