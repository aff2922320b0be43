"""A connection's way out: pending frames, the tick's flush, back-pressure."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fanout._buffer cimport Buffer
from fanout._hub cimport Hub, Subscriber


cdef struct Pending:
    Buffer* buffer          # owned
    uint64_t serial         # of the channel it came from; 0: never dropped


cdef class Outbox(Subscriber):
    cdef object transport           # None after detach
    cdef readonly object owner      # None after detach
    cdef int fd                     # -1: everything goes through the transport
    cdef Pending* pending           # [first, first + count)
    cdef uint32_t first
    cdef uint32_t count
    cdef uint32_t capacity
    cdef Py_ssize_t queued          # bytes in pending, less what a run added since
    cdef Py_ssize_t limit
    cdef Py_ssize_t oversize        # of the first pending frame, if alone it is above the limit
    cdef readonly bint blocked      # between pause() and resume()
    cdef bint held                  # between hold() and let_go()
    cdef bint ending                # the last frame is queued
    cdef bint handing               # bytes sent in part are on their way to the transport
    cdef bint overflowed
    cdef bint overflow_told
    cdef uint64_t dropped

    cdef bint append(self, Buffer* buffer, uint64_t serial) noexcept
    cdef bint append_first(self, Buffer* buffer) noexcept
    cdef void drop_range(self, uint32_t at, uint32_t many) noexcept
    cdef void drop_channel(self, uint64_t serial, Py_ssize_t until) noexcept
    cdef void drop_all(self) noexcept
    cdef void overflow(self) noexcept
    cdef void shift(self, uint32_t many) noexcept
    cdef bint fits(self, size_t size) noexcept
    cdef int write_buffer(self, bytes frame) except -1
    cdef Py_ssize_t measure(self) noexcept
    cdef void release_sent(self, uint32_t many, Py_ssize_t size) noexcept
    cdef PyObject* accept(self, Py_ssize_t size) noexcept
