"""The admin page: who is connected to which node, what flows, and a few things to do about it."""

from fanout.server.admin.admin import Admin

__all__ = ["Admin"]
