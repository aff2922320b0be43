"""An in-process subscriber: a bounded ring of messages with a policy."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fanout._awaitable cimport ready
from fanout._channel cimport KIND_QUEUE, Entry
from fanout._delivery cimport Delivery
from fanout._hub cimport Hub, Subscriber, backlog_add, mark_reserved, register_kind
from fanout._memory cimport disown, own, release, try_allocate
from fanout._message cimport Message

import inspect

from fanout.errors import SlowConsumerError
from fanout.types import Overflow


cdef dict POLICIES = {
    Overflow.CLOSE: POLICY_CLOSE,
    Overflow.DROP_NEWEST: POLICY_DROP_NEWEST,
    Overflow.DROP_OLDEST: POLICY_DROP_OLDEST,
    Overflow.KEEP_LATEST: POLICY_KEEP_LATEST,
}


@cython.final
@cython.no_gc_clear
cdef class LocalQueue(Subscriber):
    def __cinit__(self, Hub hub not None, size, overflow, callback=None):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"size must be an int, not {size!r}")
        if not 0 < size <= 0xFFFFFFFF:
            raise ValueError(f"size must be between 1 and 4294967295, not {size!r}")
        if overflow not in POLICIES:
            raise TypeError(f"overflow must be an Overflow, not {overflow!r}")
        if callback is not None:
            if not callable(callback):
                raise TypeError(f"callback must be callable, not {callback!r}")
            if inspect.iscoroutinefunction(callback):
                raise TypeError(
                    f"callback must be an ordinary function, not the coroutine function "
                    f"{callback!r}: to await something per message use `async for`")
        self.hub = hub
        self.kind = KIND_QUEUE
        self.size = size
        self.policy = POLICIES[overflow]
        if self.policy == POLICY_KEEP_LATEST:
            self.size = 1
        self.callback = callback

    def __dealloc__(self):
        cdef uint32_t index
        self.leave_all()
        for index in range(self.count):
            disown(self.slots[(<uint64_t>self.first + index) % self.capacity])
        release(self.slots)

    def __len__(self):
        return self.count

    def __aiter__(self):
        self.check_reader()
        return self

    def __anext__(self):
        self.hub.check_thread()
        if self.count > 0:
            return ready(self.pop())    # no turn of the loop for what is here
        return self._next()

    async def _next(self):
        while self.count == 0:
            if self.shut:
                error = self.end()
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._wait()
        return self.pop()

    async def get_batch(self, Py_ssize_t limit=0):
        if limit < 0:
            raise ValueError(f"limit must not be negative, not {limit!r}")
        self.check_reader()
        while self.count == 0:
            if self.shut:
                error = self.end()
                if error is not None:
                    raise error
                return []
            await self._wait()
        cdef list batch = []
        while self.count > 0 and (limit == 0 or len(batch) < limit):
            batch.append(self.pop())
        return batch

    def get_nowait(self):
        self.check_reader()
        return self.pop() if self.count > 0 else None

    def close(self, error=None):
        self.hub.check_thread()
        if not self.shut:
            self.shut = True
            self.error = error
            self.hub.mark(self)

    @property
    def closed(self):
        return bool(self.shut)

    @property
    def num_dropped(self):
        return self.dropped

    @property
    def num_received(self):
        return self.received

    @property
    def num_wakeups(self):
        return self.wakeups

    cdef int check_reader(self) except -1:
        self.hub.check_thread()
        if self.callback is not None:
            raise RuntimeError("a subscription with a callback cannot be read as well")
        return 0

    async def _wait(self):
        """Wait for the end of a tick in which something came."""
        if self.waiter is not None:
            raise RuntimeError("the subscription is being read already")
        self.waiter = self.hub.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    cdef bint grow(self) noexcept:
        """Make room for one more message; False when there is no memory."""
        cdef uint64_t capacity = min(<uint64_t>self.size, max(4ULL, <uint64_t>self.capacity * 2))
        cdef PyObject** slots = <PyObject**>try_allocate(capacity * sizeof(PyObject*))
        cdef uint32_t index
        if slots == NULL:
            return False
        for index in range(self.count):
            slots[index] = self.slots[(<uint64_t>self.first + index) % self.capacity]
        release(self.slots)
        self.slots = slots
        self.capacity = <uint32_t>capacity
        self.first = 0
        return True

    cdef Message pop(self):
        cdef PyObject* slot = self.slots[self.first]
        cdef Message message = <Message>slot
        self.count -= 1
        self.first = self.first + 1 if self.first + 1 < self.capacity else 0
        disown(slot)                    # `message` holds it now
        return message

    cdef int wake(self) except -1:
        """Tell the reader, once per tick."""
        if self.shut and self.memberships.count > 0:
            self.hub.abandon(self)
        if self.callback is not None:
            self.run_callback()
        elif self.waiter is not None and not self.waiter.done():
            self.wakeups += 1
            self.waiter.set_result(None)
        return 0

    cdef int run_callback(self) except -1:
        cdef uint32_t left = self.count     # what it publishes itself comes next tick
        cdef Message message
        if left > 0:
            self.wakeups += 1
        while left > 0 and self.count > 0:
            left -= 1
            message = self.pop()
            try:
                self.callback(message)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:      # a CancelledError is not ours to act on
                self.hub.report(
                    f"the callback of a subscription to {message.channel!r} failed", error)
        if self.shut and self.count == 0:
            error = self.end()
            if error is not None:
                self.hub.report("a subscription with a callback was closed", error)
        return 0

    cdef object end(self):
        """The error to raise at the end, or None; it is raised once."""
        if self.overran:
            self.overran = False
            return SlowConsumerError(
                f"the reader fell behind: {self.size} messages were queued and one more came "
                f"(read faster, make the queue larger, or choose another overflow policy)")
        error, self.error = self.error, None
        return error


cdef bint receive(Hub hub, const Entry* entry, const Delivery* delivery) noexcept:
    cdef PyObject* me = entry.subscriber_borrowed
    cdef uint64_t last
    hub.run_may_open = False        # every message has to come by
    if delivery.message == NULL or (<LocalQueue>me).shut:
        return False
    if (<LocalQueue>me).count == (<LocalQueue>me).size:
        (<LocalQueue>me).dropped += 1
        hub.dropped += 1
        if (<LocalQueue>me).policy == POLICY_DROP_NEWEST:
            return False
        if (<LocalQueue>me).policy == POLICY_CLOSE:
            (<LocalQueue>me).shut = True
            (<LocalQueue>me).overran = True
            if not (<LocalQueue>me).marked:
                mark_reserved(hub, me)
            return False
        # The oldest makes room (keep-latest: of the one there is). Dropping a
        # message may run Python, so it waits until the walk is over.
        backlog_add(&hub.trash, (<LocalQueue>me).slots[(<LocalQueue>me).first])
        (<LocalQueue>me).first = (
            (<LocalQueue>me).first + 1 if (<LocalQueue>me).first + 1 < (<LocalQueue>me).capacity
            else 0)
        (<LocalQueue>me).count -= 1
    elif (<LocalQueue>me).count == (<LocalQueue>me).capacity and not (<LocalQueue>me).grow():
        (<LocalQueue>me).dropped += 1
        hub.dropped += 1
        return False
    last = <uint64_t>(<LocalQueue>me).first + (<LocalQueue>me).count
    if last >= (<LocalQueue>me).capacity:
        last -= (<LocalQueue>me).capacity
    own(delivery.message)       # the slot's, until it is read or dropped
    (<LocalQueue>me).slots[last] = delivery.message
    (<LocalQueue>me).count += 1
    (<LocalQueue>me).received += 1
    if not (<LocalQueue>me).marked:
        mark_reserved(hub, me)
    return True


cdef int settle(Hub hub, PyObject** items, Py_ssize_t count) except -1:
    cdef Py_ssize_t at
    for at in range(count):
        try:
            (<LocalQueue>items[at]).wake()
        except Exception as error:
            hub.report("waking a subscription's reader failed", error)
    return 0


register_kind(KIND_QUEUE, receive, settle)
