"""An in-process subscriber: a bounded ring of messages with a policy."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fanout._hub cimport Hub, Subscriber
from fanout._message cimport Message


cdef enum Policy:
    POLICY_CLOSE
    POLICY_DROP_NEWEST
    POLICY_DROP_OLDEST
    POLICY_KEEP_LATEST


cdef class LocalQueue(Subscriber):
    cdef object __weakref__
    cdef PyObject** slots       # owned Messages
    cdef uint32_t capacity
    cdef uint32_t first
    cdef uint32_t count
    cdef uint32_t size          # the bound
    cdef Policy policy
    cdef bint shut              # takes no more
    cdef bint overran           # shut because it was full
    cdef object callback
    cdef object waiter          # a future of the reader that waits, or None
    cdef object error           # what the reader gets after the last message
    cdef uint64_t dropped
    cdef uint64_t received
    cdef uint64_t wakeups

    cdef int check_reader(self) except -1
    cdef bint grow(self) noexcept
    cdef Message pop(self)
    cdef int wake(self) except -1
    cdef int run_callback(self) except -1
    cdef object end(self)
