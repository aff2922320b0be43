"""An engine for several machines, with NATS between them: ``pip install 'fanout[nats]'``."""

from fanout.nats.engine import NatsEngine

__all__ = ["NatsEngine"]
