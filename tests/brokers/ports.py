"""Ports of the loopback interface that a restart keeps."""

from __future__ import annotations

import random
import socket

# Below the ephemeral ports: a client that dials a server which is down can
# neither be given the server's port as its own nor connect to itself.
_RANGE = range(15000, 32000)


class Port:
    """A TCP port that no other test process takes while this is held.

    The UDP port of the same number is what is held: brokers do not use it,
    and the kernel gives it back however this process ends.
    """

    def __init__(self) -> None:
        for number in random.SystemRandom().sample(_RANGE, 200):
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                holder.bind(("127.0.0.1", number))
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            except OSError:
                holder.close()
                continue
            self._holder = holder
            self.number = number
            return
        raise OSError(f"none of 200 ports tried in {_RANGE} is free")

    def release(self) -> None:
        """Let others have the port; may be called twice."""
        self._holder.close()
