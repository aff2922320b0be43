"""A growing block of bytes."""

from fanout._memory cimport release

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
