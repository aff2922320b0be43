"""JSON on its way through: checked and copied, never parsed into objects."""

from libc.stdint cimport uint8_t

from fanout._writer cimport Writer


cdef int write_string(Writer* writer, str text) except -1
cdef int write_escaped(Writer* writer, const char* utf8, Py_ssize_t size) except -1
cdef int write_number(Writer* writer, unsigned long long number) except -1
cdef int write_raw(Writer* writer, bytes value) except -1
cdef bint is_json(const uint8_t* text, Py_ssize_t size) noexcept nogil
