"""Bytes on their way to sockets: framed, ready, and shared by outboxes.

A buffer is one frame or, while its run lasts, several: publishes that follow
each other within a tick, with nothing else queued in between, go into the
buffer that every subscriber of the channel has pending already. That makes
the second one O(1), whatever the number of subscribers, and saves the joining.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t


cdef struct Buffer:
    uint32_t references
    uint32_t frames
    size_t size
    size_t capacity         # of a block of our own; 0: the data lies in bytes_owned
    char* data
    PyObject* bytes_owned   # the first frame, as long as it is the only one


cdef inline Buffer* buffer_take(Buffer* buffer) noexcept:
    buffer.references += 1
    return buffer


cdef Buffer* buffer_from(bytes frame) except NULL
cdef int buffer_reserve(Buffer* buffer, bytes frame) except -1
cdef void buffer_extend(Buffer* buffer, bytes frame) noexcept
cdef void buffer_give_back(Buffer* buffer) noexcept
