"""The handlers of a server that is run by configuration alone."""

from fanout.server.policy.policy import Policy

__all__ = ["Policy"]
