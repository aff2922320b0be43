"""How one payload lies on a transport: in a WebSocket frame, a line, an event, a chunk.

What these make is shared by all connections of an encoding. Frames that a
server sends are not masked (RFC 6455 section 5.1), and what is deflated refers
to no earlier message (RFC 7692 section 7.1.1.1): that is what lets them be
shared. A chunk is one of HTTP/1.1's (RFC 9112 section 7.1).
"""

import zlib

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcpy


cdef enum:
    TEXT = 1
    BINARY = 2
    DEFLATED = 0x40         # RSV1, RFC 7692 section 6
    FINAL = 0x80
    TAIL = 4                # bytes 00 00 ff ff, which a message ends without
    WINDOW_BITS = 15
    SIZE_TEXT = 24          # bytes: a size in hexadecimal digits, CRLF and a NUL

cdef object new_compressor = zlib.compressobj
cdef int DEFLATE_METHOD = zlib.DEFLATED
cdef int SYNC = zlib.Z_SYNC_FLUSH


cdef bytes frame_of(int first, const char* payload, Py_ssize_t size):
    """A WebSocket frame whose first byte is ``first``."""
    cdef Py_ssize_t header = 2 if size < 126 else 4 if size < 65536 else 10
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, header + size)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(frame)
    cdef Py_ssize_t left = size
    cdef int at
    to[0] = <uint8_t>first
    if header == 2:
        to[1] = <uint8_t>size
    else:
        to[1] = 126 if header == 4 else 127
        for at in range(header - 1, 1, -1):     # big-endian, RFC 6455 section 5.2
            to[at] = left & 0xFF
            left >>= 8
    memcpy(to + header, payload, size)
    return frame


def websocket_frame(int opcode, bytes payload not None):
    """One unfragmented, unmasked WebSocket frame."""
    if not 0 <= opcode <= 15:
        raise ValueError(f"opcode must be between 0 and 15, not {opcode!r}")
    return frame_of(FINAL | opcode, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef bytes chunk_of(
    const char* before, Py_ssize_t before_size, const char* payload, Py_ssize_t size,
    const char* behind, Py_ssize_t behind_size,
):
    """One chunk with the three parts as its data."""
    cdef char head[SIZE_TEXT]
    cdef Py_ssize_t head_size = snprintf(
        head, SIZE_TEXT, b"%zx\r\n", <size_t>(before_size + size + behind_size))
    cdef bytes chunk = PyBytes_FromStringAndSize(
        NULL, head_size + before_size + size + behind_size + 2)
    cdef char* to = PyBytes_AS_STRING(chunk)
    memcpy(to, head, head_size)
    to += head_size
    memcpy(to, before, before_size)
    to += before_size
    memcpy(to, payload, size)
    to += size
    memcpy(to, behind, behind_size)
    memcpy(to + behind_size, b"\r\n", 2)
    return chunk


cdef class Framing:
    def frame(self, bytes payload not None):
        return self.framed(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        raise NotImplementedError("Framing is the base of the others; make one of those")


cdef class WebSocketFraming(Framing):
    def __cinit__(self, int opcode, *args, **kwargs):
        if opcode != TEXT and opcode != BINARY:
            raise ValueError(f"opcode must be 1 (text) or 2 (binary), not {opcode!r}")
        self.opcode = opcode

    def __init__(self, int opcode):
        pass

    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        return frame_of(FINAL | self.opcode, payload, size)


@cython.final
cdef class DeflateFraming(WebSocketFraming):
    def __init__(self, int opcode, int level=1, Py_ssize_t min_size=0):
        if not 1 <= level <= 9:
            raise ValueError(f"level must be between 1 and 9, not {level!r}")
        if min_size < 0:
            raise ValueError(f"min_size must not be negative, not {min_size!r} bytes")
        self.level = level
        self.min_size = min_size

    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        cdef bytes deflated
        cdef Py_ssize_t deflated_size
        if size >= self.min_size:
            compressor = new_compressor(self.level, DEFLATE_METHOD, -WINDOW_BITS)
            deflated = compressor.compress(PyBytes_FromStringAndSize(payload, size))
            deflated += compressor.flush(SYNC)
            deflated_size = PyBytes_GET_SIZE(deflated) - TAIL
            if deflated_size < size:
                return frame_of(
                    FINAL | DEFLATED | self.opcode, PyBytes_AS_STRING(deflated), deflated_size)
        return frame_of(FINAL | self.opcode, payload, size)


@cython.final
cdef class LinesFraming(Framing):
    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        return chunk_of(b"", 0, payload, size, b"\n", 1)


@cython.final
cdef class EventFraming(Framing):
    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        cdef bytes clean
        if memchr(payload, ord(b"\r"), size) != NULL:
            # It would end the event's line. JSON has it only between its
            # values, where a space says the same.
            clean = PyBytes_FromStringAndSize(payload, size).replace(b"\r", b" ")
            payload = PyBytes_AS_STRING(clean)
        return chunk_of(b"data: ", 6, payload, size, b"\n\n", 2)


@cython.final
cdef class BlockFraming(Framing):
    cdef bytes framed(self, const char* payload, Py_ssize_t size):
        if size == 0:
            raise ValueError("an empty chunk would be the end of the response")
        return chunk_of(b"", 0, payload, size, b"", 0)
