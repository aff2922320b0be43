"""Bytes on their way to sockets: framed, ready, and shared by outboxes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memcpy

from fanout._memory cimport allocate, check, disown, own, release, resize


cdef enum:
    SMALLEST = 64           # bytes added to what is asked for: a capacity is never 0


cdef Buffer* buffer_from(bytes frame) except NULL:
    """A buffer of one frame, with one reference; the bytes are not copied."""
    cdef Buffer* buffer = <Buffer*>allocate(sizeof(Buffer))
    own(<PyObject*>frame)       # the buffer's, until it is extended or freed
    buffer.bytes_owned = <PyObject*>frame
    buffer.references = 1
    buffer.frames = 1
    buffer.size = PyBytes_GET_SIZE(frame)
    buffer.capacity = 0
    buffer.data = PyBytes_AS_STRING(frame)
    return buffer


cdef int buffer_reserve(Buffer* buffer, bytes frame) except -1:
    """Make room for one more frame, so that adding it cannot fail."""
    cdef size_t size = buffer.size + PyBytes_GET_SIZE(frame)
    cdef size_t capacity = size * 2 + SMALLEST
    cdef char* data
    if buffer.capacity == 0:
        data = <char*>allocate(capacity)
        memcpy(data, buffer.data, buffer.size)
        buffer.data = data
        buffer.capacity = capacity
        disown(buffer.bytes_owned)      # bytes: runs no Python
        buffer.bytes_owned = NULL
    elif size > buffer.capacity:
        buffer.data = <char*>resize(buffer.data, capacity)
        buffer.capacity = capacity
    return 0


cdef void buffer_extend(Buffer* buffer, bytes frame) noexcept:
    """Add a frame behind the others; the caller has reserved room."""
    cdef size_t size = PyBytes_GET_SIZE(frame)
    check(buffer.size + size <= buffer.capacity)
    memcpy(buffer.data + buffer.size, PyBytes_AS_STRING(frame), size)
    buffer.size += size
    buffer.frames += 1


cdef void buffer_give_back(Buffer* buffer) noexcept:
    """Give one reference back. Runs no Python."""
    check(buffer.references > 0)
    buffer.references -= 1
    if buffer.references > 0:
        return
    if buffer.capacity > 0:
        release(buffer.data)
    if buffer.bytes_owned != NULL:
        disown(buffer.bytes_owned)
    release(buffer)
