"""A wire to a server that a test can cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Wire:
    """Passes TCP connections on to a port, as long as it is not cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._whole = True
        self._left: int | None = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._servers = set[socket.socket]()
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Drop what is connected, and whatever tries to connect from now on."""
        with self._lock:
            self._cut()

    def cut_after(self, count: int) -> None:
        """Cut when so many more bytes have come from the server: in the middle of something."""
        with self._lock:
            self._left = count

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._whole = True
            self._left = None

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        self.cut()
        for each in (self._listener, self._woken):
            each.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._woken:
                    return
                with self._lock:
                    if end is self._listener:
                        self._accept()
                    else:
                        self._pass_on(end)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if not self._whole:
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._target))
        self._servers.add(far)
        for end, other in ((near, far), (far, near)):
            self._pairs[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        # Dropped between the select and here.
        if end not in self._pairs:
            return
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(65536)
            if self._left is not None and end in self._servers:
                data = data[: self._left]
                self._left -= len(data)
            self._pairs[end].sendall(data)
        if self._left == 0:
            self._cut()
        elif not data:
            self._drop(end)

    def _cut(self) -> None:
        self._whole = False
        self._left = None
        for end in list(self._pairs):
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other)
        for each in (end, other):
            self._servers.discard(each)
            self._selector.unregister(each)
            each.close()
