"""Channel -> subscribers, and the flush at the end of a loop's tick."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fanout._channel cimport KINDS, Channel, Entry, Kind
from fanout._delivery cimport Delivery
from fanout._filter cimport TagsFilter
from fanout._membership cimport Memberships
from fanout._memory cimport check, own
from fanout._message cimport Message
from fanout._run cimport Run
from fanout._table cimport Table


cdef struct Backlog:                    # what waits until Python may run
    PyObject** items                    # owned
    Py_ssize_t count
    Py_ssize_t capacity


cdef inline void backlog_add(Backlog* backlog, PyObject* item) noexcept:
    """Add a reference, which becomes the backlog's; the caller has reserved room."""
    check(backlog.count < backlog.capacity)
    backlog.items[backlog.count] = item
    backlog.count += 1


# What the kinds of subscriber register. `receive` runs no Python and returns
# whether it took the message; `settle` is called at the end of the tick with
# what was marked, and may run anything.
ctypedef bint (*receive_function)(Hub hub, const Entry* entry, const Delivery* delivery) noexcept
ctypedef int (*settle_function)(Hub hub, PyObject** items, Py_ssize_t count) except -1


cdef class Subscriber:
    cdef Memberships memberships
    cdef Hub hub
    cdef uint8_t kind
    cdef uint8_t encoding
    cdef bint marked                    # is in the hub's backlog

    cdef void leave_all(self) noexcept


cdef class Hub:
    cdef Table table
    cdef object loop
    cdef object on_vacated
    cdef list encoders
    cdef list vacated
    cdef unsigned long thread
    cdef bint scheduled
    cdef uint64_t next_serial
    cdef Backlog backlogs[KINDS]        # subscribers to settle at the end of the tick
    cdef Backlog trash                  # messages to release after the walk
    cdef Run run
    cdef bint run_may_open              # nobody in the walk wants more than the buffer
    cdef char* arena                    # where buffers of one tick are joined; see Outbox
    cdef size_t arena_size
    cdef Py_ssize_t unsent              # bytes broadcast since the outboxes were settled
    cdef readonly Py_ssize_t turn_size  # broadcasts since the last end of a tick

    cdef Py_ssize_t subscriptions_count
    cdef uint64_t published
    cdef uint64_t delivered
    cdef uint64_t dropped
    cdef uint64_t sends
    cdef uint64_t bytes_sent
    cdef uint64_t ticks

    cdef int check_thread(self) except -1
    cdef int check_subscriber(self, Subscriber subscriber) except -1
    cdef Py_ssize_t deliver(self, Channel* channel, Delivery* delivery, list frames) except -1
    cdef Py_ssize_t announce(self, str channel, info, str method) except -1
    cdef int mark(self, Subscriber subscriber) except -1
    cdef int schedule(self) except -1
    cdef int settle(self, Kind kind) except -1
    cdef bint leave(self, Subscriber subscriber, uint32_t item) noexcept
    cdef Py_ssize_t broadcast_deltas(self, str channel, Message message, Channel* record) except -1
    cdef void walk_with_extras(
        self, Channel* channel, Delivery* delivery, Py_ssize_t* reached) noexcept
    cdef Py_ssize_t continue_run(self, list frames) except -1
    cdef int tell_unencodable(self, str channel, Message message, uint32_t encodings) except -1
    cdef bint wanted(self, Subscriber subscriber, str channel, Message message) except -1
    cdef bint enter(
        self, Subscriber subscriber, str channel, int flags, int slow, bint delta, Message base,
        TagsFilter filter,
    ) except -1
    cdef int abandon(self, Subscriber subscriber) except -1
    cdef int empty_trash(self) except -1
    cdef int report(self, str what, error) except -1


cdef inline void mark_reserved(Hub hub, PyObject* subscriber) noexcept:
    """Put a subscriber into the backlog, in which the caller has reserved room."""
    own(subscriber)         # the backlog's, until it is settled
    backlog_add(&hub.backlogs[(<Subscriber>subscriber).kind], subscriber)
    (<Subscriber>subscriber).marked = True


cdef inline void seal_run(Hub hub) noexcept:
    """Something else was queued, or who is subscribed changed: the next publish walks."""
    hub.run.serial = 0


cdef void register_kind(Kind kind, receive_function receive, settle_function settle) noexcept
