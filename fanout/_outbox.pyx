"""A connection's way out: pending frames, the tick's flush, back-pressure.

The frames that a tick queued for one connection leave in one system call,
straight on the socket. Three rules make that safe beside the event loop:

* the transport is asked whether it is closing in the same call that sends, on
  the loop's thread, so the descriptor cannot have been closed and reused;
* while the transport buffers bytes of its own, everything goes through it, in
  order, so no frame lands in the middle of another;
* what a socket does not take whole is handed to the transport, one piece at a
  time, and its protocol's pause and resume say when the next may go.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from fanout._buffer cimport Buffer, buffer_from, buffer_give_back, buffer_take
from fanout._hub cimport (
    KIND_OUTBOX, SLOW_DISCONNECT, SLOW_KEEP_LATEST, Delivery, Entry, Hub, Subscriber,
    mark_reserved, register_kind, seal_run,
)
from fanout._memory cimport release, resize


cdef extern from "socket_send.h":
    Py_ssize_t fanout_send(int fd, const void* data, size_t size) nogil

cdef enum:
    BATCH = 256             # sends prepared at once, then made without the GIL
    JOIN_LIMIT = 262144     # bytes joined for one send; the rest follows in the next
    KEPT_CAPACITY = 256     # pending slots that an emptied outbox keeps

cdef struct Job:
    PyObject* outbox        # borrowed from the backlog
    const char* data        # NULL: at `offset` in the arena
    size_t offset
    size_t size
    uint32_t many           # pending buffers that it holds
    bint direct             # to the socket, not through the transport
    Py_ssize_t sent

# Where the buffers of one tick are joined. One is enough: it is used on one thread
# from preparing a batch to the end of its sends.
cdef char* arena = NULL
cdef size_t arena_size = 0


@cython.final
@cython.no_gc_clear
cdef class Outbox(Subscriber):
    def __cinit__(self, Hub hub not None, transport, owner, int encoding, Py_ssize_t limit):
        if not 0 <= encoding < len(hub.encoders):
            raise ValueError(f"encoding must be a number from add_encoder, not {encoding!r}")
        if limit <= 0:
            raise ValueError(f"limit must be above 0 bytes, not {limit!r}")
        self.hub = hub
        self.kind = KIND_OUTBOX
        self.encoding = encoding
        self.owner = owner
        self.limit = limit
        self.fd = -1
        self.transport = transport
        # pause and resume then come with the first and the last buffered byte.
        transport.set_write_buffer_limits(0)
        socket = transport.get_extra_info("socket")
        if socket is not None and transport.get_extra_info("sslcontext") is None:
            self.fd = socket.fileno()

    def __dealloc__(self):
        self.leave_all()
        self.drop_all()

    def write(self, bytes frame not None):
        self.hub.check_thread()
        if self.transport is None or self.ending or self.overflowed:
            return
        if not self.blocked and self.queued + len(frame) > self.limit:
            self.hub.settle(KIND_OUTBOX)    # it may be full, not slow
            if self.transport is None or self.ending or self.overflowed:
                return
        if self.fits(len(frame)):
            self.write_buffer(frame)
        else:
            self.overflow()
        self.hub.mark(self)

    def write_last(self, bytes frame not None):
        self.hub.check_thread()
        if self.transport is None or self.ending:
            return
        self.write_buffer(frame)
        self.ending = True
        self.hub.mark(self)

    def pause(self):
        self.blocked = True
        seal_run(self.hub)      # from here on its bound is checked with each message

    def resume(self):
        self.blocked = False
        if self.count > 0:
            self.hub.mark(self)

    def detach(self):
        self.transport = None
        self.owner = None
        self.fd = -1
        self.drop_all()

    def shrink(self):
        if self.count == 0 and self.pending != NULL:
            release(self.pending)
            self.pending = NULL
            self.capacity = self.first = 0

    @property
    def queued_bytes(self):
        return self.measure()

    @property
    def num_dropped(self):
        return self.dropped

    def _on_unencodable(self, channel):
        if self.owner is not None:
            self.owner.on_unencodable(channel)

    cdef bint fits(self, size_t size) noexcept:
        """An empty outbox takes any one frame, else a large one could never leave."""
        return self.count == 0 or self.queued + <Py_ssize_t>size <= self.limit

    cdef int write_buffer(self, bytes frame) except -1:
        cdef Buffer* buffer = buffer_from(frame)
        cdef bint queued = self.append(buffer, 0)
        buffer_give_back(buffer)
        if not queued:
            raise MemoryError()
        return 0

    cdef bint append(self, Buffer* buffer, uint64_t serial) noexcept:
        """Queue a buffer; False when there is no memory for it."""
        cdef uint32_t capacity
        seal_run(self.hub)          # what a run adds would overtake this
        if self.first + self.count == self.capacity:
            if self.first > self.count:
                memmove(self.pending, self.pending + self.first, self.count * sizeof(Pending))
                self.first = 0
            else:
                capacity = max(<uint32_t>4, self.capacity * 2)
                try:
                    self.pending = <Pending*>resize(self.pending, capacity * sizeof(Pending))
                except MemoryError:
                    return False
                self.capacity = capacity
        self.pending[self.first + self.count].buffer = buffer_take(buffer)
        self.pending[self.first + self.count].serial = serial
        self.count += 1
        self.queued += buffer.size
        return True

    cdef Py_ssize_t measure(self) noexcept:
        """The bytes in pending, counted anew: a run may have added to the last one."""
        cdef uint32_t at
        self.queued = 0
        for at in range(self.first, self.first + self.count):
            self.queued += self.pending[at].buffer.size
        return self.queued

    cdef void drop_range(self, uint32_t at, uint32_t many) noexcept:
        """Remove buffers ``[at, at + many)`` counted from the first; counts dropped frames."""
        cdef Pending* start = self.pending + self.first + at
        cdef uint32_t index
        for index in range(many):
            self.queued -= start[index].buffer.size
            self.dropped += start[index].buffer.frames
            self.hub.dropped += start[index].buffer.frames
            buffer_give_back(start[index].buffer)
        memmove(start, start + many, (self.count - at - many) * sizeof(Pending))
        self.count -= many

    cdef void drop_channel(self, uint64_t serial, Py_ssize_t until) noexcept:
        """Drop a channel's oldest buffers until at most ``until`` bytes are queued."""
        cdef uint32_t at = 0
        while at < self.count and self.queued > until:
            if self.pending[self.first + at].serial != serial:
                at += 1
            elif at == 0:
                self.queued -= self.pending[self.first].buffer.size
                self.dropped += self.pending[self.first].buffer.frames
                self.hub.dropped += self.pending[self.first].buffer.frames
                self.shift(1)
            else:
                self.drop_range(at, 1)

    cdef void drop_all(self) noexcept:
        if self.count > 0:
            self.drop_range(0, self.count)
        release(self.pending)
        self.pending = NULL
        self.first = self.capacity = 0
        self.queued = 0

    cdef void overflow(self) noexcept:
        """The reader is too slow: free what is queued; its owner is told at the flush."""
        self.dropped += 1
        self.hub.dropped += 1
        self.drop_all()
        self.overflowed = True

    cdef void shift(self, uint32_t many) noexcept:
        """Give back the first ``many`` buffers, whose bytes are accounted for."""
        cdef uint32_t index
        for index in range(self.first, self.first + many):
            buffer_give_back(self.pending[index].buffer)
        self.count -= many
        self.first = self.first + many if self.count else 0
        if self.count == 0 and self.capacity > KEPT_CAPACITY:
            release(self.pending)
            self.pending = NULL
            self.capacity = 0

    cdef void release_sent(self, uint32_t many, Py_ssize_t size) noexcept:
        """The first ``many`` buffers, of ``size`` bytes, are sent."""
        self.hub.bytes_sent += size
        self.queued -= size
        self.shift(many)

    cdef bytes accept(self, Py_ssize_t size):
        """Account for ``size`` sent bytes; the rest of a buffer sent in part, or None.

        When nothing was sent the rest is the whole first buffer: the transport
        finishes it, and says when the next may go. Runs no Python.
        """
        cdef uint32_t whole = 0
        cdef Py_ssize_t length
        cdef Buffer* buffer
        cdef bytes rest
        self.hub.bytes_sent += size
        while whole < self.count:
            length = self.pending[self.first + whole].buffer.size
            if length > size:
                break
            size -= length
            self.queued -= length
            whole += 1
        if whole == self.count:
            self.shift(whole)
            return None
        buffer = self.pending[self.first + whole].buffer
        length = buffer.size
        rest = PyBytes_FromStringAndSize(buffer.data + size, length - size)
        self.queued -= length
        self.hub.bytes_sent += length - size
        self.shift(whole + 1)
        return rest

    cdef int hand_over(self, bytes data) except -1:
        """Let the transport send what the socket did not take."""
        if self.transport is None:
            return 0
        self.transport.write(data)
        if self.count > 0 and not self.blocked:
            self.hub.mark(self)
        return 0

cdef bint receive(Hub hub, const Entry* entry, const Delivery* delivery) noexcept:
    cdef PyObject* me = entry.subscriber_borrowed
    cdef Buffer* buffer = delivery.buffers[entry.encoding]
    cdef bint taken
    if buffer == NULL:
        return False
    if (<Outbox>me).transport is None or (<Outbox>me).ending or (<Outbox>me).overflowed:
        (<Outbox>me).dropped += 1
        hub.dropped += 1
        hub.run_may_open = False        # each message counts as dropped
        return False
    if (<Outbox>me).blocked:
        hub.run_may_open = False        # its bound is checked with each message
        if delivery.slow == SLOW_KEEP_LATEST:
            (<Outbox>me).drop_channel(delivery.serial, -1)
    if delivery.slow != SLOW_DISCONNECT and not (<Outbox>me).fits(buffer.size):
        (<Outbox>me).drop_channel(
            delivery.serial, (<Outbox>me).limit - <Py_ssize_t>buffer.size)
    taken = (<Outbox>me).fits(buffer.size) and (<Outbox>me).append(buffer, delivery.serial)
    if not taken:
        (<Outbox>me).overflow()
    if not (<Outbox>me).marked and (not (<Outbox>me).blocked or not taken):
        mark_reserved(hub, me)
    return taken


cdef inline const char* job_data(const Job* job) noexcept nogil:
    return job.data if job.data != NULL else arena + job.offset


cdef int reserve_arena(size_t size) except -1:
    global arena, arena_size
    if size > arena_size:
        size = max(size, arena_size * 2)
        arena = <char*>resize(arena, size)
        arena_size = size
    return 0


cdef bint same_pending(Outbox left, Outbox right, uint32_t count) noexcept:
    """The first ``count`` pending buffers of both are the same ones."""
    return memcmp(
        left.pending + left.first, right.pending + right.first, count * sizeof(Pending)) == 0


cdef int prepare(Job* job, Job* previous, size_t* used) except -1:
    """Find the bytes of one connection's send, joining its buffers if they are several.

    Connections with the same channels have the same buffers pending: what was
    joined for the one before is used again.
    """
    cdef Outbox outbox = <Outbox>job.outbox
    cdef Outbox before
    cdef Buffer* buffer
    cdef uint32_t at
    if outbox.count == 1:
        buffer = outbox.pending[outbox.first].buffer
        job.data = buffer.data
        job.size = buffer.size
        job.many = 1
        outbox.queued = buffer.size
        return 0
    if previous != NULL and previous.data == NULL and previous.many == outbox.count:
        before = <Outbox>previous.outbox    # has at least that many: nothing was sent yet
        if same_pending(before, outbox, outbox.count):
            job[0].data = NULL
            job.offset = previous.offset
            job.size = previous.size
            job.many = previous.many
            outbox.queued = job.size
            return 0
    outbox.measure()
    job.data = NULL
    job.offset = used[0]
    job.size = 0
    job.many = 0
    for at in range(outbox.first, outbox.first + outbox.count):
        buffer = outbox.pending[at].buffer
        if job.many > 0 and job.size + buffer.size > JOIN_LIMIT:
            break
        reserve_arena(used[0] + buffer.size)
        memcpy(arena + used[0], buffer.data, buffer.size)
        used[0] += buffer.size
        job.size += buffer.size
        job.many += 1
    return 0


cdef int tell_overflows(Hub hub, PyObject** items, Py_ssize_t count) except -1:
    cdef Py_ssize_t at
    cdef Outbox outbox
    for at in range(count):
        outbox = <Outbox>items[at]
        if outbox.overflowed and not outbox.overflow_told:
            outbox.overflow_told = True
            if outbox.owner is not None:
                try:
                    outbox.owner.on_slow()
                except Exception as error:
                    hub.report("telling an outbox's owner that it is slow failed", error)
    return 0


cdef bint may_send(Outbox outbox) except -1:
    """Whether the socket may be written directly, now."""
    if outbox.count == 0 or outbox.blocked or outbox.transport is None:
        return False
    if outbox.transport.is_closing():
        outbox.drop_all()
        return False
    return True


cdef int settle(Hub hub, PyObject** items, Py_ssize_t count) except -1:
    """Send what is pending, in batches of three steps.

    Asking the transports and telling them may run Python, which may detach or
    fill any outbox; preparing, sending and accounting, which point into the
    outboxes, lie in between and run none.
    """
    cdef Job jobs[BATCH]
    cdef Py_ssize_t done = 0, chosen, prepared, at
    cdef size_t used
    cdef Outbox outbox
    cdef bytes rest
    cdef list unsent        # (outbox, what its transport shall send; None: it broke)
    tell_overflows(hub, items, count)
    while done < count:
        chosen = 0
        while done < count and chosen < BATCH:
            outbox = <Outbox>items[done]
            done += 1
            try:
                if may_send(outbox):
                    memset(&jobs[chosen], 0, sizeof(Job))
                    jobs[chosen].outbox = <PyObject*>outbox
                    jobs[chosen].direct = (
                        outbox.fd >= 0 and outbox.transport.get_write_buffer_size() == 0)
                    chosen += 1
            except Exception as error:
                hub.report("asking a connection's transport failed", error)
        unsent = []
        used = 0
        prepared = 0
        while prepared < chosen:
            if (<Outbox>jobs[prepared].outbox).count == 0:      # detached meanwhile
                chosen -= 1
                jobs[prepared] = jobs[chosen]
                continue
            prepare(&jobs[prepared], &jobs[prepared - 1] if prepared else NULL, &used)
            prepared += 1
        with nogil:
            for at in range(prepared):
                if jobs[at].direct:
                    jobs[at].sent = fanout_send(
                        (<Outbox>jobs[at].outbox).fd, job_data(&jobs[at]), jobs[at].size)
        for at in range(prepared):
            outbox = <Outbox>jobs[at].outbox
            if not jobs[at].direct:
                unsent.append((outbox, PyBytes_FromStringAndSize(job_data(&jobs[at]), jobs[at].size)))
                outbox.release_sent(jobs[at].many, jobs[at].size)
                continue
            hub.sends += 1
            if jobs[at].sent < 0:
                outbox.ending = True
                outbox.drop_all()
                unsent.append((outbox, None))
            elif <size_t>jobs[at].sent < jobs[at].size:
                unsent.append((outbox, outbox.accept(jobs[at].sent)))
            else:
                outbox.release_sent(jobs[at].many, jobs[at].size)
                if outbox.count > 0:
                    hub.mark(outbox)        # more than one join's worth
        for outbox, rest in unsent:
            try:
                if rest is not None:
                    outbox.hand_over(rest)
                elif outbox.transport is not None:
                    outbox.transport.abort()    # the loop tells its protocol
            except Exception as error:
                hub.report("handing bytes to a connection's transport failed", error)
    return 0


register_kind(KIND_OUTBOX, receive, settle)
