"""A TCP proxy before a broker that breaks when a test says so."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import selectors
import socket
import struct
import sys
import termios
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.brokers.ports import Port

T = TypeVar("T")

_READ = 65536
_CALL_S = 20.0
_DELIVER_S = 5.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes closing send RST."""
_DATA_SEGS_IN = 152
"""Where ``tcpi_data_segs_in`` stands in Linux' ``struct tcp_info``."""


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def _segments(connection: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    segments: int = struct.unpack_from("I", info, _DATA_SEGS_IN)[0]
    return segments


def _wait_delivered(connection: socket.socket) -> None:
    """Wait until the peer's kernel has all that was sent: a reset would discard the rest."""
    if sys.platform != "linux":
        return
    deadline = time.monotonic() + _DELIVER_S
    while time.monotonic() < deadline:
        queued = fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4)
        if not any(queued):
            return
        time.sleep(0.0005)


class _Way:
    """One direction of a link."""

    def __init__(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        self.source = source
        self.sink = sink
        self.to_server = to_server
        self.pending = memoryview(b"")
        self.ended = False
        """The source said that it sends no more."""
        self.shut = False
        """The sink was told so."""


class _Link:
    """A client's connection and the one to the server that was made for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.up = _Way(client, server, to_server=True)
        self.down = _Way(server, client, to_server=False)
        self.connecting = True


class _Machine:
    """The proxy's thread, and all that only it may touch."""

    def __init__(self, target: int, port: Port) -> None:
        self.target = target
        self.port = port
        self.listener: socket.socket | None = None
        self.links: set[_Link] = set()
        self.stalled = False
        self.budget: int | None = None
        self.cut_done: Future[None] | None = None
        self.num_accepted = 0
        self.num_reads_to_server = 0
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self.closed_segments = 0
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="cutting-proxy", daemon=True)
        self._thread.start()

    # From any thread

    def call(self, function: Callable[[], T]) -> T:
        """What ``function`` returns in the proxy's thread."""
        future: Future[T] = Future()
        self._calls.append((function, future))
        # Where one more does not fit, enough wake-ups are on their way.
        # The thread may also have done it already, and ended.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._wake_writer.send(b"\0")
        return future.result(_CALL_S)

    def shutdown(self) -> None:
        if threading.current_thread() is self._thread:
            # The garbage collector may finalize the proxy here too.
            self._stop()
        elif self._thread.is_alive():
            self.call(self._stop)
            self._thread.join(_CALL_S)
        self._wake_writer.close()
        self.port.release()

    # In the proxy's thread

    def _stop(self) -> None:
        self.refuse()
        self.cut()
        self._stopping = True

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_reader:
                    self._wake_reader.recv(4096)
                elif key.fileobj is self.listener:
                    self._accept()
                elif key.data in self.links:
                    self._turn(key.data)
            while self._calls:
                function, future = self._calls.popleft()
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
        self._selector.close()
        self._wake_reader.close()

    def listen(self) -> None:
        if self.listener is not None:
            return
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port.number))
            listener.listen(1024)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._selector.register(listener, selectors.EVENT_READ)
        self.listener = listener

    def refuse(self) -> None:
        if self.listener is not None:
            self._selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def _accept(self) -> None:
        assert self.listener is not None
        try:
            client, _ = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        server = socket.socket()
        for end in (client, server):
            end.setblocking(False)
            # A reply cut into two reads must arrive so, and nothing later than it was sent.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.num_accepted += 1
        failed = server.connect_ex(("127.0.0.1", self.target))
        link = _Link(client, server)
        self.links.add(link)
        if failed not in (0, errno.EINPROGRESS):
            self._end(link, _reset)
            return
        self._watch(link)

    def _turn(self, link: _Link) -> None:
        """Pass on what can be passed on now."""
        try:
            if link.connecting:
                if link.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._end(link, _reset)
                    return
                link.connecting = False
            if not self.stalled:
                self._pass_on(link.up)
                if self._pass_on(link.down):
                    self._cut_as_arranged()
                    return
        except OSError:
            # One end was reset, so the other is too.
            self._end(link, _reset)
            return
        if link.up.shut and link.down.shut:
            self._end(link, socket.socket.close)
            return
        self._watch(link)

    def _pass_on(self, way: _Way) -> bool:
        """Read and send what can be; whether the moment of an arranged cut has come."""
        if not way.pending and not way.ended:
            self._read(way)
        if way.pending:
            limit = len(way.pending)
            if self.budget is not None and not way.to_server:
                limit = min(limit, self.budget)
            try:
                sent = way.sink.send(way.pending[:limit]) if limit else 0
            except BlockingIOError:
                return False
            way.pending = way.pending[sent:]
            if way.to_server:
                self.bytes_to_server += sent
            else:
                self.bytes_to_client += sent
                if self.budget is not None:
                    self.budget -= sent
                    if not self.budget and way.pending:
                        return True
        if way.ended and not way.pending and not way.shut:
            way.sink.shutdown(socket.SHUT_WR)
            way.shut = True
        return False

    def _read(self, way: _Way) -> None:
        try:
            data = way.source.recv(_READ)
        except BlockingIOError:
            return
        way.ended = not data
        way.pending = memoryview(data)
        if way.to_server and data:
            self.num_reads_to_server += 1

    def _watch(self, link: _Link) -> None:
        for end, read, write in (
            (link.client, link.up, link.down),
            (link.server, link.down, link.up),
        ):
            events = 0
            if link.connecting:
                events = selectors.EVENT_WRITE if end is link.server else 0
            elif not self.stalled:
                if not read.pending and not read.ended:
                    events |= selectors.EVENT_READ
                if write.pending:
                    events |= selectors.EVENT_WRITE
            known = self._selector.get_map().get(end)
            if known is None:
                if events:
                    self._selector.register(end, events, link)
            elif not events:
                self._selector.unregister(end)
            elif known.events != events:
                self._selector.modify(end, events, link)

    def _end(self, link: _Link, close: Callable[[socket.socket], None]) -> None:
        self.links.discard(link)
        self.closed_segments += _segments(link.client)
        for end in (link.client, link.server):
            if end in self._selector.get_map():
                self._selector.unregister(end)
            close(end)

    def cut(self) -> None:
        for link in list(self.links):
            self._end(link, _reset)

    def arrange_cut(self, num_bytes: int) -> Future[None]:
        if self.cut_done is not None:
            self.cut_done.cancel()
        self.budget = num_bytes
        self.cut_done = Future()
        return self.cut_done

    def _cut_as_arranged(self) -> None:
        done, self.cut_done, self.budget = self.cut_done, None, None
        for link in self.links:
            _wait_delivered(link.client)
        self.cut()
        assert done is not None
        if done.set_running_or_notify_cancel():
            done.set_result(None)

    def stall(self) -> None:
        self.stalled = True
        for link in self.links:
            self._watch(link)

    def unstall(self) -> None:
        self.stalled = False
        for link in self.links:
            self._watch(link)

    def segments(self) -> int:
        return self.closed_segments + sum(_segments(link.client) for link in self.links)


class CuttingProxy:
    """A proxy to ``target_port`` of 127.0.0.1, in a thread of its own.

    A context manager. Every method returns when what it says is done, and none
    needs the caller's loop to turn. A client whose target is down is accepted
    and then reset, unless ``refuse()`` was called.
    """

    def __init__(self, target_port: int) -> None:
        port = Port()
        self.port = port.number
        self._machine = machine = _Machine(target_port, port)
        self._finalizer = weakref.finalize(self, machine.shutdown)
        try:
            machine.call(machine.listen)
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        """Reset every connection now, at both ends; what was not passed on is lost."""
        self._machine.call(self._machine.cut)

    def cut_after(self, bytes_to_client: int) -> Future[None]:
        """Let that many more bytes of replies pass, of all connections together.

        In place of the next byte after them all connections are reset, at both
        ends; a client can still read the bytes before it. With 0 the server has
        done what it was told and its answer is lost. The future that is returned
        is done when that has happened; a further call cancels it.
        """
        if bytes_to_client < 0:
            raise ValueError(f"bytes_to_client is {bytes_to_client}, must be 0 or more")
        return self._machine.call(lambda: self._machine.arrange_cut(bytes_to_client))

    def stall(self) -> None:
        """Pass nothing on, either way; connections stay and new ones are accepted."""
        self._machine.call(self._machine.stall)

    def unstall(self) -> None:
        """Pass on again, beginning with what was held back."""
        self._machine.call(self._machine.unstall)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._machine.call(self._machine.refuse)

    def accept(self) -> None:
        """Accept connections again after ``refuse()``."""
        self._machine.call(self._machine.listen)

    def retarget(self, target_port: int) -> None:
        """Make new connections to another port; those that are open stay."""
        self._machine.call(lambda: setattr(self._machine, "target", target_port))

    @property
    def num_connections(self) -> int:
        """Connections that are open now."""
        return self._machine.call(lambda: len(self._machine.links))

    @property
    def num_accepted(self) -> int:
        """Connections that were ever accepted."""
        return self._machine.call(lambda: self._machine.num_accepted)

    @property
    def bytes_to_server(self) -> int:
        return self._machine.call(lambda: self._machine.bytes_to_server)

    @property
    def bytes_to_client(self) -> int:
        return self._machine.call(lambda: self._machine.bytes_to_client)

    @property
    def num_reads_to_server(self) -> int:
        """Reads, of at most 64 KiB, that it took to get what clients sent.

        One write of under 32 KiB takes one read. Writes in quick succession may
        be read together: ``num_segments_to_server`` tells them apart better.
        """
        return self._machine.call(lambda: self._machine.num_reads_to_server)

    @property
    def num_segments_to_server(self) -> int:
        """TCP segments with data that clients sent (Linux; 0 elsewhere).

        Each write of a client with TCP_NODELAY is one or more, however late it
        is read; only after ten that were not acknowledged may writes share one.
        """
        return self._machine.call(self._machine.segments)

    def close(self) -> None:
        """Reset all connections and give the port back; may be called twice."""
        self._finalizer()

    def __repr__(self) -> str:
        return f"<CuttingProxy 127.0.0.1:{self.port} to {self._machine.target}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
