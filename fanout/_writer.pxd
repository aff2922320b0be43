"""A growing block of bytes."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t

from fanout._memory cimport release


cdef enum:
    MOST_VARINT = 10        # bytes of a 64-bit number

cdef struct Writer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity

cdef inline void writer_init(Writer* writer) noexcept:
    writer.data = NULL
    writer.size = writer.capacity = 0

cdef inline void writer_free(Writer* writer) noexcept:
    release(writer.data)
    writer_init(writer)

cdef int write_bytes(Writer* writer, const char* data, Py_ssize_t size) except -1
cdef int write_varint(Writer* writer, uint64_t number) except -1


cdef inline int write_byte(Writer* writer, uint8_t byte) except -1:
    return write_bytes(writer, <const char*>&byte, 1)


cdef inline bytes written(const Writer* writer):
    """All that was written, as a bytes object."""
    return PyBytes_FromStringAndSize(writer.data, writer.size)
