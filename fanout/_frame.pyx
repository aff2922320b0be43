"""The bytes of a push, made once and shared by all connections of an encoding.

JSON text is that of the Centrifuge client protocol v2; frames that a server
sends are not masked (RFC 6455 section 5.1), which is what lets them be shared.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from fanout._json cimport is_json, write_number, write_raw, write_string
from fanout._message cimport Message, message_info
from fanout._writer cimport Writer, write_bytes, writer_free, writer_init


cdef enum:
    TEXT = 1
    FINAL = 0x80


cdef inline Py_ssize_t header_size(Py_ssize_t size) noexcept:
    return 2 if size < 126 else 4 if size < 65536 else 10


cdef bytes framed(int opcode, const char* payload, Py_ssize_t size):
    cdef Py_ssize_t header = header_size(size)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, header + size)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(frame)
    cdef int at
    to[0] = <uint8_t>(FINAL | opcode)
    if header == 2:
        to[1] = <uint8_t>size
    else:
        to[1] = 126 if header == 4 else 127
        for at in range(header - 1, 1, -1):     # big-endian, RFC 6455 section 5.2
            to[at] = size & 0xFF
            size >>= 8
        size = len(frame) - header
    memcpy(to + header, payload, size)
    return frame


def websocket_frame(int opcode, bytes payload not None):
    """One unfragmented, unmasked WebSocket frame."""
    if not 0 <= opcode <= 15:
        raise ValueError(f"opcode must be between 0 and 15, not {opcode!r}")
    return framed(opcode, payload, len(payload))


cdef int write_literal(Writer* out, bytes text) except -1:
    return write_bytes(out, PyBytes_AS_STRING(text), len(text))


cdef bint embeddable(bytes value) noexcept:
    return is_json(<const uint8_t*>PyBytes_AS_STRING(value), len(value))


cdef bint write_info(Writer* out, info) except -1:
    """Write a ClientInfo; False when its bytes are not JSON."""
    cdef bytes default_info = info.default_info
    cdef bytes channel_info = info.channel_info
    write_literal(out, b'{"user":')
    write_string(out, info.user)
    write_literal(out, b',"client":')
    write_string(out, info.client)
    if default_info:
        if not embeddable(default_info):
            return False
        write_literal(out, b',"conn_info":')
        write_raw(out, default_info)
    if channel_info:
        if not embeddable(channel_info):
            return False
        write_literal(out, b',"chan_info":')
        write_raw(out, channel_info)
    write_literal(out, b"}")
    return True


cdef bint write_publication(Writer* out, str channel, Message message) except -1:
    """Write a publication pushed in ``channel``; False when it cannot be said in JSON."""
    cdef bint first = True
    cdef object info = message_info(message)
    if not embeddable(message.data):
        return False
    write_literal(out, b'{"data":')
    write_raw(out, message.data)
    if channel != message.channel:      # it came by a wildcard
        write_literal(out, b',"channel":')
        write_string(out, message.channel)
    if info is not None:
        write_literal(out, b',"info":')
        if not write_info(out, info):
            return False
    if message.offset:
        write_literal(out, b',"offset":')
        write_number(out, message.offset)
    if message.own_tags:
        write_literal(out, b',"tags":{')
        for key, value in message.own_tags.items():
            if not first:
                write_literal(out, b",")
            first = False
            write_string(out, key)
            write_literal(out, b":")
            write_string(out, value)
        write_literal(out, b"}")
    write_literal(out, b"}")
    return True


def json_publication(Message message not None):
    """The JSON text of a publication, or None when its data is not JSON."""
    cdef Writer out
    writer_init(&out)
    try:
        if not write_publication(&out, message.channel, message):
            return None
        return PyBytes_FromStringAndSize(out.data, out.size)
    finally:
        writer_free(&out)


def json_client_info(info):
    """The JSON text of a ClientInfo, or None when its infos are not JSON."""
    cdef Writer out
    writer_init(&out)
    try:
        if not write_info(&out, info):
            return None
        return PyBytes_FromStringAndSize(out.data, out.size)
    finally:
        writer_free(&out)


@cython.final
cdef class JSONEncoder:
    """Pushes in JSON, each in a WebSocket text frame."""

    def publication(self, str channel not None, Message message not None):
        cdef Writer out
        writer_init(&out)
        try:
            self.open(&out, channel, b',"pub":')
            if not write_publication(&out, channel, message):
                return None
            return self.close(&out)
        finally:
            writer_free(&out)

    def join(self, str channel not None, info):
        return self.with_info(channel, b',"join":{"info":', info)

    def leave(self, str channel not None, info):
        return self.with_info(channel, b',"leave":{"info":', info)

    cdef bytes with_info(self, str channel, bytes body, info):
        cdef Writer out
        writer_init(&out)
        try:
            self.open(&out, channel, body)
            if not write_info(&out, info):
                return None
            write_literal(&out, b"}")
            return self.close(&out)
        finally:
            writer_free(&out)

    cdef int open(self, Writer* out, str channel, bytes body) except -1:
        write_literal(out, b'{"push":{"channel":')
        write_string(out, channel)
        return write_literal(out, body)

    cdef bytes close(self, Writer* out):
        write_literal(out, b"}}")
        return framed(TEXT, out.data, out.size)
