"""Everything that ends by time, in one min-heap behind one loop timer."""

from libc.stdint cimport uint32_t


cdef struct Deadline:
    double at               # seconds on the expiry's clock
    Py_ssize_t index        # place in the heap, -1 when not in it
    void* sink_borrowed     # the DeadlineSink that is told; it outlives the deadline
    void* record            # what ends, for the sink

cdef struct Entry:
    double key              # when to look at the deadline
    Deadline* deadline


cdef class DeadlineSink:
    """Told when one of its deadlines has passed. The deadline is out of the heap."""
    cdef int expired(self, Deadline* deadline) except -1


cdef class Expiry:
    cdef Entry* heap
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef object clock
    cdef object loop
    cdef object handle          # of the loop's timer, or None
    cdef double handle_at
    cdef bint firing
    cdef double firing_until    # keys up to here are being fired
    cdef double postponed       # key of what was set meanwhile, without delay

    cdef double now(self) except? -1.0
    cdef int reserve(self) except -1
    cdef int set(self, Deadline* deadline, double at) except -1
    cdef void drop(self, Deadline* deadline) noexcept
    cdef Py_ssize_t fire(self, double now, Py_ssize_t limit) except -1
    cdef int arm(self) except -1
    cdef void put(self, Py_ssize_t index, Deadline* deadline) noexcept
    cdef void swap(self, Py_ssize_t left, Py_ssize_t right) noexcept
    cdef void sift_up(self, Py_ssize_t index) noexcept
    cdef void sift_down(self, Py_ssize_t index) noexcept


cdef inline void deadline_init(
    Deadline* deadline, DeadlineSink sink, void* record
) noexcept:
    deadline.at = 0.0
    deadline.index = -1
    deadline.sink_borrowed = <void*>sink
    deadline.record = record


cdef class Timer(DeadlineSink):
    cdef Deadline deadline
    cdef Expiry expiry
    cdef object callback
