"""The text of a push in JSON, made once and shared by all connections of an encoding.

It is that of the Centrifuge client protocol v2.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from fanout._fossil cimport Base
from fanout._framing cimport Framing, WebSocketFraming
from fanout._json cimport is_json, write_escaped, write_number, write_raw, write_string
from fanout._message cimport Message, message_info
from fanout._writer cimport Writer, write_bytes, writer_free, writer_init, written

from fanout._framing import websocket_frame


cdef enum:
    TEXT = 1                # the opcode


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


cdef int write_text(Writer* out, bytes text) except -1:
    """Write UTF-8 as a JSON string that is read as exactly this text."""
    return write_escaped(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef bint write_publication(
    Writer* out, str channel, Message message, bint delta, Base base
) except -1:
    """Write a publication pushed in ``channel``; False when it cannot be said in JSON.

    In the delta form, ``delta``, the data is a string: a patch of ``base``, or
    all of it when there is no base or the patch is not smaller.
    """
    cdef bint first = True
    cdef bint patched = False
    cdef object info = message_info(message)
    cdef bytes patch
    if not embeddable(message.data):
        return False
    write_literal(out, b'{"data":')
    if not delta:
        write_raw(out, message.data)
    else:
        patch = None if base is None else base.patch_to(message.data)
        patched = patch is not None
        write_text(out, patch if patched else message.data)
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
    if patched:
        write_literal(out, b',"delta":true')
    write_literal(out, b"}")
    return True


def json_publication(Message message not None, *, bint delta=False, bytes base=None):
    """The JSON text of a publication, or None when its data is not JSON."""
    cdef Writer out
    cdef Base start = None if base is None else Base(base)
    writer_init(&out)
    try:
        if not write_publication(&out, message.channel, message, delta, start):
            return None
        return written(&out)
    finally:
        writer_free(&out)


def json_client_info(info):
    """The JSON text of a ClientInfo, or None when its infos are not JSON."""
    cdef Writer out
    writer_init(&out)
    try:
        if not write_info(&out, info):
            return None
        return written(&out)
    finally:
        writer_free(&out)


@cython.final
cdef class JSONEncoder:
    """Pushes in JSON."""

    cdef Framing framing
    cdef bytes start
    cdef bytes end

    def __cinit__(self, Framing framing=None, bint uni=False):
        self.framing = WebSocketFraming(TEXT) if framing is None else framing
        self.start = b'{"channel":' if uni else b'{"push":{"channel":'
        self.end = b"}" if uni else b"}}"

    def publication(self, str channel not None, Message message not None):
        return self.pushed(channel, message, False, None)

    def publication_delta(self, str channel not None, Message message not None, Base base):
        return self.pushed(channel, message, True, base)

    def join(self, str channel not None, info):
        return self.with_info(channel, b',"join":{"info":', info)

    def leave(self, str channel not None, info):
        return self.with_info(channel, b',"leave":{"info":', info)

    cdef bytes pushed(self, str channel, Message message, bint delta, Base base):
        cdef Writer out
        writer_init(&out)
        try:
            self.open(&out, channel, b',"pub":')
            if not write_publication(&out, channel, message, delta, base):
                return None
            return self.close(&out)
        finally:
            writer_free(&out)

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
        write_literal(out, self.start)
        write_string(out, channel)
        return write_literal(out, body)

    cdef bytes close(self, Writer* out):
        write_literal(out, self.end)
        return self.framing.framed(out.data, out.size)
