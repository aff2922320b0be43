"""JSON on its way through: checked and copied, never parsed into objects."""

from libc.stdint cimport uint8_t

cdef struct Writer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity

cdef inline void writer_init(Writer* writer) noexcept:
    writer.data = NULL
    writer.size = writer.capacity = 0

cdef int write_bytes(Writer* writer, const char* data, Py_ssize_t size) except -1
cdef int write_string(Writer* writer, str text) except -1
cdef int write_number(Writer* writer, unsigned long long number) except -1
cdef int write_raw(Writer* writer, bytes value) except -1
cdef void writer_free(Writer* writer) noexcept
cdef bint is_json(const uint8_t* text, Py_ssize_t size) noexcept nogil
