"""A growing block of bytes."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fanout._memory cimport resize


cdef int write_bytes(Writer* writer, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t wanted = writer.size + size
    if size == 0:               # of what was never allocated, perhaps
        return 0
    if wanted > writer.capacity:
        wanted = max(wanted + wanted // 2, 256)
        writer.data = <char*>resize(writer.data, wanted)
        writer.capacity = wanted
    memcpy(writer.data + writer.size, data, size)
    writer.size += size
    return 0


cdef int write_varint(Writer* writer, uint64_t number) except -1:
    """Seven bits a byte, lowest first, as Protobuf has it."""
    cdef uint8_t bytes[MOST_VARINT]
    cdef int size = 0
    while number > 0x7F:
        bytes[size] = <uint8_t>(number & 0x7F | 0x80)
        number >>= 7
        size += 1
    bytes[size] = <uint8_t>number
    return write_bytes(writer, <const char*>bytes, size + 1)
