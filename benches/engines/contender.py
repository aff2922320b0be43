"""What publishes through a broker and gets it back, in one shape for all."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

DATA = b"x" * 128
"""The payload of every message."""
HISTORY_SIZE = 100
"""Messages that are kept of a channel, where history is kept."""
HISTORY_LIFETIME = 300.0
"""Seconds for which they are kept."""


@dataclass(frozen=True)
class Broker:
    """Where the broker is: its port on 127.0.0.1."""

    port: int

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class Contender:
    """One way to publish, subscribed in the same process to all channels.

    ``got`` is called once for every message that came back. ``packages`` are
    those whose versions the results name. The constructor may raise
    ``ImportError``.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    differs: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        self.broker = broker
        self.got = got

    async def open(self, channels: Sequence[str]) -> None:
        """Connect and subscribe to ``channels``; what is published from now on comes back."""
        raise NotImplementedError

    async def publish(self, channels: Sequence[str]) -> None:
        """Publish a batch, one message to each of ``channels``; done when all are accepted."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    @classmethod
    def described(cls) -> dict[str, str]:
        return {"label": cls.label, "differs": inspect.cleandoc(cls.differs)}
