"""Everything that ends by time, in one min-heap behind one loop timer.

A deadline that is only moved later keeps its place in the heap; it is put
right when its old time comes. That makes a refresh O(1), and refreshing is
what presence and history do at almost every call.
"""

cimport cython
from libc.math cimport INFINITY, nextafter
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fanout._memory cimport check, release, resize


cdef extern from *:
    const Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    FIRED_PER_TICK = 4096   # then the loop gets a turn: a burst must not stall it

# The loop's timer is not set finer than this: fewer wake-ups, and the clocks
# of the loop and of this heap may differ by a rounding.
cdef double GRAIN = 0.01


cdef class DeadlineSink:
    cdef int expired(self, Deadline* deadline) except -1:
        raise NotImplementedError


cdef class Expiry:
    def __cinit__(self, clock=None):
        self.heap = NULL
        self.count = 0
        self.capacity = 0
        self.clock = clock
        self.loop = None
        self.handle = None
        self.handle_at = 0.0
        self.firing = False
        self.firing_until = 0.0
        self.postponed = -INFINITY

    def __dealloc__(self):
        # Every sink owns a reference to this object until it has dropped its
        # deadlines (no_gc_clear), so none is left.
        check(self.count == 0)
        release(self.heap)

    def __len__(self):
        return self.count

    def start(self, loop):
        self.loop = loop
        self.arm()

    def stop(self):
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        self.loop = None

    def advance(self):
        cdef Py_ssize_t fired = self.fire(self.now(), PY_SSIZE_T_MAX)
        self.arm()
        return fired

    cdef double now(self) except? -1.0:
        cdef timespec time
        if self.clock is not None:
            return self.clock()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return <double>time.tv_sec + <double>time.tv_nsec * 1e-9

    cdef int reserve(self) except -1:
        """Make room for one more deadline, so that setting it cannot fail."""
        cdef Py_ssize_t capacity = max(self.capacity * 2, 16)
        if self.count == self.capacity:
            self.heap = <Entry*>resize(self.heap, capacity * sizeof(Entry))
            self.capacity = capacity
        return 0

    cdef int set(self, Deadline* deadline, double at) except -1:
        """Let a deadline pass at ``at`` instead of whenever it was set to.

        Runs no Python, so that records stay where they are; ``arm`` does,
        and the caller calls it when it holds no pointer any more.
        """
        cdef Py_ssize_t index = deadline.index
        cdef double key = at
        if self.firing and key <= self.firing_until:
            # Else what sets itself again without delay would be fired for ever.
            key = self.postponed = nextafter(self.firing_until, INFINITY)
        if index >= 0:
            deadline.at = at
            if key < self.heap[index].key:
                self.heap[index].key = key
                self.sift_up(index)
            return 0
        self.reserve()
        deadline.at = at
        self.heap[self.count].key = key
        self.put(self.count, deadline)
        self.count += 1
        self.sift_up(self.count - 1)
        return 0

    cdef void drop(self, Deadline* deadline) noexcept:
        """Take a deadline out; nothing happens when it is not in."""
        cdef Py_ssize_t index = deadline.index
        if index < 0:
            return
        check(index < self.count and self.heap[index].deadline == deadline)
        deadline.index = -1
        self.count -= 1
        if index < self.count:
            self.heap[index].key = self.heap[self.count].key
            self.put(index, self.heap[self.count].deadline)
            self.sift_down(index)
            self.sift_up(index)
        if self.count == 0:
            release(self.heap)
            self.heap = NULL
            self.capacity = 0

    cdef Py_ssize_t fire(self, double now, Py_ssize_t limit) except -1:
        """Tell the sinks of at most ``limit`` deadlines that passed by ``now``."""
        cdef Py_ssize_t fired = 0
        cdef Deadline* deadline
        cdef DeadlineSink sink
        cdef bint nested = self.firing
        # What was postponed is due now, even by a clock that has not moved.
        cdef double until = max(now, self.postponed)
        self.firing = True
        self.firing_until = until
        try:
            while self.count > 0 and self.heap[0].key <= until and fired < limit:
                deadline = self.heap[0].deadline
                if deadline.at > now:
                    self.heap[0].key = deadline.at
                    self.sift_down(0)
                    continue
                self.drop(deadline)
                fired += 1
                sink = <DeadlineSink>deadline.sink_borrowed   # alive while it is told
                sink.expired(deadline)
        finally:
            self.firing = nested
        return fired

    def _on_timer(self):
        self.handle = None
        try:
            self.fire(self.now(), FIRED_PER_TICK)
        finally:
            self.arm()

    cdef int arm(self) except -1:
        """Have the loop call for the first deadline, if it would not by itself."""
        cdef double first, delay
        if self.loop is None or self.firing or self.count == 0:
            return 0
        first = self.heap[0].key
        if self.handle is not None:
            if self.handle_at <= first + GRAIN:
                return 0
            self.handle.cancel()
        delay = first - self.now()
        if delay < GRAIN:
            delay = GRAIN
        self.handle_at = first
        self.handle = self.loop.call_later(delay, self._on_timer)
        return 0

    cdef void put(self, Py_ssize_t index, Deadline* deadline) noexcept:
        self.heap[index].deadline = deadline
        deadline.index = index

    cdef void swap(self, Py_ssize_t left, Py_ssize_t right) noexcept:
        cdef Entry entry = self.heap[left]
        self.heap[left].key = self.heap[right].key
        self.put(left, self.heap[right].deadline)
        self.heap[right].key = entry.key
        self.put(right, entry.deadline)

    cdef void sift_up(self, Py_ssize_t index) noexcept:
        cdef Py_ssize_t parent
        while index > 0:
            parent = (index - 1) >> 1
            if self.heap[parent].key <= self.heap[index].key:
                return
            self.swap(parent, index)
            index = parent

    cdef void sift_down(self, Py_ssize_t index) noexcept:
        cdef Py_ssize_t child
        while True:
            child = 2 * index + 1
            if child >= self.count:
                return
            if child + 1 < self.count and self.heap[child + 1].key < self.heap[child].key:
                child += 1
            if self.heap[index].key <= self.heap[child].key:
                return
            self.swap(index, child)
            index = child


@cython.no_gc_clear     # __dealloc__ needs the expiry
cdef class Timer(DeadlineSink):
    def __cinit__(self, Expiry expiry not None, callback):
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.expiry = expiry
        self.callback = callback
        deadline_init(&self.deadline, self, NULL)

    def __dealloc__(self):
        if self.expiry is not None:
            self.expiry.drop(&self.deadline)

    def start(self, double delay):
        if delay != delay:
            raise ValueError("delay must be a number of seconds, not nan")
        self.expiry.set(&self.deadline, self.expiry.now() + delay)
        self.expiry.arm()

    def cancel(self):
        self.expiry.drop(&self.deadline)

    @property
    def active(self):
        return self.deadline.index >= 0

    cdef int expired(self, Deadline* deadline) except -1:
        self.callback()
        return 0
