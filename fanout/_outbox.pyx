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
from cpython.exc cimport PyErr_Clear
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from fanout._buffer cimport Buffer, buffer_from, buffer_give_back, buffer_take
from fanout._channel cimport KIND_OUTBOX, SLOW_DISCONNECT, SLOW_KEEP_LATEST, Entry
from fanout._delivery cimport Delivery, slot_of
from fanout._extras cimport FORM_PLAIN
from fanout._hub cimport Hub, Subscriber, mark_reserved, register_kind, seal_run
from fanout._memory cimport adopt, disown, own, release, try_resize
from fanout._run cimport run_drop


cdef extern from "Python.h":
    PyObject* PyBytes_FromStringAndSize(const char* text, Py_ssize_t size)

cdef extern from "socket_send.h":
    Py_ssize_t fanout_send(int fd, const void* data, size_t size) nogil

cdef enum:
    BATCH = 256             # sends prepared at once, then made without the GIL
    JOIN_LIMIT = 262144     # bytes joined for one send; the rest follows in the next
    KEPT_CAPACITY = 256     # pending slots that an emptied outbox keeps
    SMALLEST_ARENA = 65536  # bytes
    KEPT_ARENA = 4194304    # bytes that a hub keeps from one flush to the next

cdef struct Job:
    PyObject* outbox        # borrowed from the backlog
    const char* data        # NULL: at `offset` in the hub's arena
    size_t offset
    size_t size
    uint32_t many           # pending buffers that it holds
    bint direct             # to the socket, not through the transport
    Py_ssize_t sent
    PyObject* rest          # bytes, owned, that the transport shall send; or NULL
    bint broken             # the connection is of no use any more


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
        # With TLS the limit itself is too much already: at 0 it would stay paused.
        tls = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(1 if tls else 0, 0)
        socket = transport.get_extra_info("socket")
        if socket is not None and not tls:
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
        self.hub.mark(self)     # before the frame is queued: it may fail, or run Python
        if self.transport is None or self.ending or self.overflowed:
            return
        if self.fits(len(frame)):
            self.write_buffer(frame)
        else:
            self.overflow()

    def write_last(self, bytes frame not None):
        self.hub.check_thread()
        if self.transport is None or self.ending:
            return
        self.hub.mark(self)
        if self.transport is None or self.ending:
            return
        if self.held:
            self.held = False
            self.drop_all()     # what it was to follow is never sent
        self.write_buffer(frame)
        self.ending = True

    def pause(self):
        self.hub.check_thread()
        self.blocked = True
        seal_run(self.hub)      # from here on its bound is checked with each message

    def resume(self):
        self.hub.check_thread()
        self.blocked = False
        if self.count > 0:
            self.hub.mark(self)

    def hold(self):
        self.hub.check_thread()
        self.held = True

    def let_go(self, bytes first not None):
        self.hub.check_thread()
        cdef Buffer* buffer
        cdef bint queued
        if not self.held:
            self.write(first)
            return
        self.held = False
        if self.transport is not None and not self.ending and not self.overflowed:
            buffer = buffer_from(first)
            queued = self.append_first(buffer)
            buffer_give_back(buffer)
            if not queued:
                raise MemoryError()
        self.hub.mark(self)

    def detach(self):
        self.hub.check_thread()
        cdef object transport = self.transport      # released last: it may run Python
        cdef object owner = self.owner
        self.transport = None
        self.owner = None
        self.fd = -1
        self.drop_all()

    def shrink(self):
        self.hub.check_thread()
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
        """An empty outbox takes any one frame, else a large one could never leave.

        Nor does such a one count, else what follows it would find a reader slow
        who was given no chance.
        """
        return self.count == 0 or (
            self.queued - self.oversize + <Py_ssize_t>size <= self.limit)

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
        cdef Pending* pending
        seal_run(self.hub)          # what a run adds would overtake this
        if self.first + self.count == self.capacity:
            if self.first > self.count:
                memmove(self.pending, self.pending + self.first, self.count * sizeof(Pending))
                self.first = 0
            else:
                capacity = max(<uint32_t>4, self.capacity * 2)
                pending = <Pending*>try_resize(self.pending, capacity * sizeof(Pending))
                if pending == NULL:
                    return False
                self.pending = pending
                self.capacity = capacity
        self.pending[self.first + self.count].buffer = buffer_take(buffer)
        self.pending[self.first + self.count].serial = serial
        if self.count == 0 and <Py_ssize_t>buffer.size > self.limit:
            self.oversize = buffer.size
        self.count += 1
        self.queued += buffer.size
        return True

    cdef bint append_first(self, Buffer* buffer) noexcept:
        """Queue a buffer in front of the others; False when there is no memory for it."""
        cdef Pending first
        if not self.append(buffer, 0):
            return False
        first = self.pending[self.first + self.count - 1]
        memmove(
            self.pending + self.first + 1, self.pending + self.first,
            (self.count - 1) * sizeof(Pending))
        self.pending[self.first] = first
        self.oversize = buffer.size if <Py_ssize_t>buffer.size > self.limit else 0
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
        while at < self.count and self.queued - self.oversize > until:
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
        # With nothing queued there may be no hub: it was never initialized.
        if self.count > 0:
            seal_run(self.hub)      # what a run adds counts as dropped
            self.drop_range(0, self.count)
        release(self.pending)
        self.pending = NULL
        self.first = self.capacity = 0
        self.queued = self.oversize = 0

    cdef void overflow(self) noexcept:
        """The reader is too slow: free what is queued; its owner is told at the flush."""
        self.dropped += 1
        self.hub.dropped += 1
        self.drop_all()
        self.overflowed = True

    cdef void shift(self, uint32_t many) noexcept:
        """Give back the first ``many`` buffers, whose bytes are accounted for."""
        cdef uint32_t index
        if many > 0:
            self.oversize = 0
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

    cdef PyObject* accept(self, Py_ssize_t size) noexcept:
        """Account for ``size`` sent bytes, and take out the buffer that was sent in part.

        Returns a new reference to the bytes that are left of it, which the
        transport finishes, and then says when the next may go; NULL when there
        is no memory for them. When nothing of a buffer was sent it is all of it.
        """
        cdef uint32_t whole = 0
        cdef Py_ssize_t length
        cdef Buffer* buffer
        cdef PyObject* rest
        self.hub.bytes_sent += size
        while True:
            buffer = self.pending[self.first + whole].buffer
            length = buffer.size
            if length > size:
                break
            size -= length
            self.queued -= length
            whole += 1
        rest = rest_of(buffer, size)
        if rest == NULL:
            self.shift(whole)
            return NULL
        self.queued -= length
        self.hub.bytes_sent += length - size
        self.shift(whole + 1)
        return rest


cdef PyObject* rest_of(Buffer* buffer, size_t sent) noexcept:
    """A new reference to what is left of a buffer, or NULL when there is no memory."""
    cdef PyObject* rest
    if sent == 0 and buffer.bytes_owned != NULL:
        own(buffer.bytes_owned)     # the caller's
        return buffer.bytes_owned
    return new_bytes(buffer.data + sent, buffer.size - sent)


cdef PyObject* new_bytes(const char* data, size_t size) noexcept:
    """A bytes object, or NULL when there is no memory; runs no collector."""
    cdef PyObject* made = PyBytes_FromStringAndSize(data, size)
    if made == NULL:
        PyErr_Clear()
    else:
        adopt(made)                 # the caller's
    return made


cdef bint receive(Hub hub, const Entry* entry, const Delivery* delivery) noexcept:
    cdef PyObject* me = entry.subscriber_borrowed
    cdef Buffer* buffer = delivery.buffers[
        slot_of(entry.form & delivery.forms, entry.encoding)]
    cdef bint taken
    if buffer == NULL:
        hub.run_may_open = False        # the next one may be sayable
        return False
    if (<Outbox>me).transport is None or (<Outbox>me).ending or (<Outbox>me).overflowed:
        (<Outbox>me).dropped += 1
        hub.dropped += 1
        hub.run_may_open = False        # each message counts as dropped
        return False
    if (<Outbox>me).blocked or (<Outbox>me).held:
        hub.run_may_open = False        # its bound is checked with each message
        if delivery.slow == SLOW_KEEP_LATEST:
            (<Outbox>me).drop_channel(delivery.serial, -1)
    if delivery.slow != SLOW_DISCONNECT and not (<Outbox>me).fits(buffer.size):
        (<Outbox>me).drop_channel(
            delivery.serial, (<Outbox>me).limit - <Py_ssize_t>buffer.size)
    # One that later deltas start from must not be dropped.
    taken = (<Outbox>me).fits(buffer.size) and (<Outbox>me).append(
        buffer, delivery.serial if entry.form == FORM_PLAIN else 0)
    if not taken:
        (<Outbox>me).overflow()
    if not (<Outbox>me).marked and (not (<Outbox>me).blocked or not taken):
        mark_reserved(hub, me)
    return taken


cdef inline const char* job_data(const Job* job, const char* arena) noexcept nogil:
    return job.data if job.data != NULL else arena + job.offset


cdef bint reserve_arena(Hub hub, size_t size) noexcept:
    """Make room where a tick's buffers are joined; False when there is no memory.

    A hub has one arena, not the module: two hubs may send at the same time,
    each on its own thread.
    """
    cdef char* arena
    if size <= hub.arena_size:
        return True
    size = max(size, hub.arena_size * 2, <size_t>SMALLEST_ARENA)
    arena = <char*>try_resize(hub.arena, size)
    if arena == NULL:
        return False
    hub.arena = arena
    hub.arena_size = size
    return True


cdef bint same_pending(Outbox left, Outbox right, uint32_t count) noexcept:
    """The first ``count`` pending buffers of both are the same ones."""
    return memcmp(
        left.pending + left.first, right.pending + right.first, count * sizeof(Pending)) == 0


cdef void join(Hub hub, Job* job, Job* previous, size_t* used) noexcept:
    """Join the pending buffers of one connection; none when there is no memory.

    Connections with the same channels have the same buffers pending: what was
    joined for the one before is used again.
    """
    cdef Outbox outbox = <Outbox>job.outbox
    cdef Buffer* buffer
    cdef uint32_t at
    if (
        previous != NULL and previous.data == NULL and previous.many == outbox.count
        # The one before has at least that many: nothing was sent yet.
        and same_pending(<Outbox>previous.outbox, outbox, outbox.count)
    ):
        job.offset = previous.offset
        job.size = previous.size
        job.many = previous.many
        outbox.queued = job.size
        return
    outbox.measure()
    job.offset = used[0]
    for at in range(outbox.first, outbox.first + outbox.count):
        buffer = outbox.pending[at].buffer
        if job.many > 0 and job.size + buffer.size > JOIN_LIMIT:
            break
        if not reserve_arena(hub, used[0] + buffer.size + 1):      # + 1: never for nothing
            break
        memcpy(hub.arena + used[0], buffer.data, buffer.size)
        used[0] += buffer.size
        job.size += buffer.size
        job.many += 1


cdef void prepare(Hub hub, Job* job, Job* previous, size_t* used) noexcept:
    """Find the bytes of one connection's send."""
    cdef Outbox outbox = <Outbox>job.outbox
    cdef Buffer* buffer
    if outbox.count > 1:
        join(hub, job, previous, used)
    if job.many == 0:           # there is one, or no memory to join them in
        buffer = outbox.pending[outbox.first].buffer
        job.data = buffer.data
        job.size = buffer.size
        job.many = 1
        outbox.measure()


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


cdef inline bint has_to_send(Outbox outbox) noexcept:
    return (
        outbox.count > 0 and not outbox.blocked and not outbox.held and not outbox.handing
        and outbox.transport is not None)


cdef bint may_send(Outbox outbox) except -1:
    """Whether the connection may be written to, now."""
    if not has_to_send(outbox):
        return False
    if outbox.transport.is_closing():
        outbox.drop_all()
        return False
    return has_to_send(outbox)


cdef void account(Hub hub, Job* job) noexcept:
    """Take what was sent out of the outbox; what Python has to do is left in the job."""
    cdef Outbox outbox = <Outbox>job.outbox
    if not job.direct:
        if job.data != NULL:
            job.rest = rest_of(outbox.pending[outbox.first].buffer, 0)
        else:
            job.rest = new_bytes(job_data(job, hub.arena), job.size)
        if job.rest != NULL:        # else they stay queued, for the next tick
            outbox.release_sent(job.many, job.size)
            outbox.handing = True
        return
    hub.sends += 1
    if job.sent >= 0:
        if <size_t>job.sent == job.size:
            outbox.release_sent(job.many, job.size)
            return
        job.rest = outbox.accept(job.sent)
        if job.rest != NULL:
            outbox.handing = True       # nothing may overtake it
            return
    job.broken = True
    outbox.ending = True
    outbox.drop_all()


cdef inline bint has_to_finish(const Job* job) noexcept:
    return job.rest != NULL or job.broken or has_to_send(<Outbox>job.outbox)


cdef int finish(Hub hub, Job* job) except -1:
    """What is left to do after a send, and may run anything."""
    cdef Outbox outbox = <Outbox>job.outbox
    cdef object rest = None
    if job.rest != NULL:
        rest = <object>job.rest
        disown(job.rest)                # `rest` holds it now
    try:
        if outbox.transport is not None:
            if rest is not None:
                outbox.transport.write(rest)
            elif job.broken:
                outbox.transport.abort()        # the loop tells its protocol
    except Exception as error:
        hub.report("handing bytes to a connection's transport failed", error)
    finally:
        outbox.handing = False
        if has_to_send(outbox):
            hub.mark(outbox)
    return 0


cdef Py_ssize_t ask(Hub hub, PyObject** items, Py_ssize_t count, Job* jobs) except -1:
    """Choose those of at most BATCH outboxes that may send."""
    cdef Py_ssize_t at, chosen = 0
    cdef Outbox outbox
    for at in range(count):
        outbox = <Outbox>items[at]
        try:
            if may_send(outbox):
                memset(&jobs[chosen], 0, sizeof(Job))
                jobs[chosen].outbox = <PyObject*>outbox
                jobs[chosen].direct = (
                    outbox.fd >= 0 and outbox.transport.get_write_buffer_size() == 0)
                chosen += 1
        except Exception as error:
            hub.report("asking a connection's transport failed", error)
    return chosen


cdef Py_ssize_t send_batch(Hub hub, Job* jobs, Py_ssize_t chosen) noexcept:
    """Send what the chosen outboxes have, and account for it; how many had anything.

    Points into the outboxes. So it runs no Python, and makes no object that the
    garbage collector knows of: the collector may run Python too.
    """
    cdef Py_ssize_t at, prepared = 0
    cdef size_t used = 0
    cdef const char* arena
    run_drop(&hub.run)          # asking may have opened one; what is sent must not grow
    for at in range(chosen):
        # Asking another transport may have changed this one.
        if has_to_send(<Outbox>jobs[at].outbox):
            jobs[prepared] = jobs[at]
            prepare(hub, &jobs[prepared], &jobs[prepared - 1] if prepared else NULL, &used)
            prepared += 1
    arena = hub.arena
    with nogil:
        for at in range(prepared):
            if jobs[at].direct:
                jobs[at].sent = fanout_send(
                    (<Outbox>jobs[at].outbox).fd, job_data(&jobs[at], arena), jobs[at].size)
    for at in range(prepared):
        account(hub, &jobs[at])
    if hub.arena_size > KEPT_ARENA:
        release(hub.arena)
        hub.arena = NULL
        hub.arena_size = 0
    return prepared


cdef int settle(Hub hub, PyObject** items, Py_ssize_t count) except -1:
    """Send what is pending, in batches of three steps.

    Asking the transports and telling them may run Python, which may detach or
    fill or flush any outbox; sending lies in between and runs none.
    """
    cdef Job jobs[BATCH]
    cdef Py_ssize_t done = 0, size, prepared, at
    cdef object fatal = None    # a KeyboardInterrupt: not before all have their rest
    tell_overflows(hub, items, count)
    while done < count and fatal is None:
        size = min(count - done, <Py_ssize_t>BATCH)
        prepared = send_batch(hub, jobs, ask(hub, items + done, size, jobs))
        done += size
        for at in range(prepared):
            if not has_to_finish(&jobs[at]):
                continue
            try:
                finish(hub, &jobs[at])
            except BaseException as error:
                fatal = error
    if fatal is not None:
        raise fatal
    return 0


register_kind(KIND_OUTBOX, receive, settle)
