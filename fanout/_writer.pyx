"""A growing block of bytes."""

from libc.string cimport memcpy

from fanout._memory cimport resize


cdef int write_bytes(Writer* writer, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t wanted = writer.size + size
    if wanted > writer.capacity:
        wanted = max(wanted + wanted // 2, 256)
        writer.data = <char*>resize(writer.data, wanted)
        writer.capacity = wanted
    memcpy(writer.data + writer.size, data, size)
    writer.size += size
    return 0
