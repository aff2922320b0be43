"""Channel -> subscribers, and the flush at the end of a loop's tick."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fanout._buffer cimport Buffer
from fanout._extras cimport FORMS, Extras
from fanout._memory cimport check, own
from fanout._filter cimport TagsFilter
from fanout._fossil cimport Base
from fanout._membership cimport Memberships
from fanout._message cimport Message
from fanout._table cimport Record, Table


cdef enum:
    MAX_ENCODINGS = 32
    SLOTS = FORMS * MAX_ENCODINGS

cdef enum Kind:
    KIND_OUTBOX = 0
    KIND_QUEUE = 1
    KINDS = 2

cdef enum Flag:
    WANTS_JOIN_LEAVE = 1

cdef enum Slow:
    SLOW_DISCONNECT = 0
    SLOW_DROP_OLDEST = 1
    SLOW_KEEP_LATEST = 2

cdef struct Entry:                      # one subscriber of a channel
    PyObject* subscriber_borrowed       # leaves the array before it dies
    uint32_t membership                 # its item among the subscriber's channels
    uint8_t kind
    uint8_t encoding
    uint8_t flags
    uint8_t form                        # see Extras

cdef struct Channel:
    Record record
    Entry* entries
    uint32_t count
    uint32_t capacity
    uint64_t serial                     # never used again for another channel
    uint8_t slow                        # what a full outbox does
    uint32_t encodings                  # bit mask of those ever used while it lives
    Extras* extras                      # owned; NULL: nobody wants deltas or filters

cdef struct Delivery:                   # one message on its way to a channel
    PyObject* message                   # for queues; NULL: only for outboxes
    uint64_t serial
    uint8_t slow
    uint8_t flags                       # only to entries that have these
    uint8_t forms                       # bits of an entry's form that count; 0: all get it plain
    int slots                           # how many of the buffers are in use
    Buffer* buffers[SLOTS]              # owned, or NULL; by form and encoding, see slot_of

cdef struct Run:                        # of publishes into one channel, see Buffer
    uint64_t serial                     # of the channel; 0: sealed
    Py_ssize_t reached                  # by each publish
    int slots
    Buffer* buffers[SLOTS]              # owned, or NULL

cdef struct Backlog:                    # subscribers with something to settle
    PyObject** items                    # owned
    Py_ssize_t count
    Py_ssize_t capacity


cdef inline int slot_of(int form, int encoding) noexcept:
    return form * MAX_ENCODINGS + encoding


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
    cdef Backlog backlogs[KINDS]
    cdef PyObject** trash               # owned messages, released after the walk
    cdef Py_ssize_t trash_count
    cdef Py_ssize_t trash_capacity
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
    cdef int reserve(self, Kind kind, Py_ssize_t more) except -1
    cdef int mark(self, Subscriber subscriber) except -1
    cdef int schedule(self) except -1
    cdef int settle(self, Kind kind) except -1
    cdef bint leave(self, Subscriber subscriber, uint32_t item) noexcept
    cdef Py_ssize_t broadcast_deltas(self, str channel, Message message, Channel* record) except -1
    cdef void walk_with_extras(
        self, Channel* channel, Delivery* delivery, Py_ssize_t* reached) noexcept
    cdef list frames_with_deltas(
        self, str channel, Message message, uint32_t plain, uint32_t full, uint32_t patch,
        Base base, list unsaid)
    cdef int make_buffers(self, Delivery* delivery, list frames) except -1
    cdef Py_ssize_t continue_run(self, list frames) except -1
    cdef void drop_run(self) noexcept
    cdef void open_run(self, Delivery* delivery, Py_ssize_t reached) noexcept
    cdef int tell_unencodable(self, str channel, Message message, list encodings) except -1
    cdef bint wanted(self, Subscriber subscriber, str channel, Message message) except -1
    cdef bint enter(
        self, Subscriber subscriber, str channel, int flags, int slow, bint delta, Message base,
        TagsFilter filter,
    ) except -1
    cdef void dress(
        self, Channel* channel, uint32_t place, bint delta, Message base, TagsFilter filter
    ) noexcept
    cdef void shrink(self, Channel* channel) noexcept
    cdef int abandon(self, Subscriber subscriber) except -1
    cdef int empty_trash(self) except -1
    cdef int report(self, str what, error) except -1


cdef inline void mark_reserved(Hub hub, PyObject* subscriber) noexcept:
    """Put a subscriber into the backlog, in which the caller has reserved room."""
    cdef Backlog* backlog = &hub.backlogs[(<Subscriber>subscriber).kind]
    check(backlog.count < backlog.capacity)
    own(subscriber)         # the backlog's, until it is settled
    backlog.items[backlog.count] = subscriber
    backlog.count += 1
    (<Subscriber>subscriber).marked = True


cdef inline void seal_run(Hub hub) noexcept:
    """Something else was queued, or who is subscribed changed: the next publish walks."""
    hub.run.serial = 0


cdef void register_kind(Kind kind, receive_function receive, settle_function settle) noexcept
