"""The bytes of a push in Protobuf, made once and shared by all connections of an encoding.

Field numbers are those of the Centrifuge client protocol v2. Fields with the
value that a reader takes for an absent one are left out.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint64_t

from fanout._fossil cimport Base
from fanout._framing cimport Framing, WebSocketFraming
from fanout._message cimport Message, message_info
from fanout._writer cimport (
    Writer, write_bytes, write_varint, writer_free, writer_init, written,
)


cdef enum:
    BINARY = 2              # the opcode

cdef enum WireType:
    VARINT = 0
    BLOCK = 2

cdef enum Field:
    REPLY_PUSH = 4
    PUSH_CHANNEL = 2
    PUSH_PUB = 4
    PUSH_JOIN = 5
    PUSH_LEAVE = 6
    JOIN_INFO = 1           # of a leave, too
    INFO_USER = 1
    INFO_CLIENT = 2
    INFO_CONN_INFO = 3
    INFO_CHAN_INFO = 4
    PUB_DATA = 4
    PUB_INFO = 5
    PUB_OFFSET = 6
    PUB_TAGS = 7
    PUB_DELTA = 8
    PUB_CHANNEL = 10
    ENTRY_KEY = 1
    ENTRY_VALUE = 2


cdef int write_number(Writer* out, int field, uint64_t number) except -1:
    if number:
        write_varint(out, <uint64_t>(field << 3 | VARINT))
        write_varint(out, number)
    return 0


cdef int write_block(Writer* out, int field, const char* data, Py_ssize_t size) except -1:
    write_varint(out, <uint64_t>(field << 3 | BLOCK))
    write_varint(out, size)
    return write_bytes(out, data, size)


cdef int write_text(Writer* out, int field, str text) except -1:
    """UnicodeEncodeError for a lone surrogate."""
    cdef Py_ssize_t size
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    return write_block(out, field, utf8, size) if size else 0


cdef int write_data(Writer* out, int field, bytes data) except -1:
    if PyBytes_GET_SIZE(data) == 0:
        return 0
    return write_block(out, field, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef int write_part(Writer* out, int field, Writer* part) except -1:
    """A message inside of another."""
    return write_block(out, field, part.data, part.size)


cdef int write_info(Writer* out, info) except -1:
    write_text(out, INFO_USER, info.user)
    write_text(out, INFO_CLIENT, info.client)
    write_data(out, INFO_CONN_INFO, info.default_info)
    return write_data(out, INFO_CHAN_INFO, info.channel_info)


cdef int write_info_part(Writer* out, int field, info) except -1:
    cdef Writer part
    writer_init(&part)
    try:
        write_info(&part, info)
        return write_part(out, field, &part)
    finally:
        writer_free(&part)


cdef int write_tag(Writer* out, str key, str value) except -1:
    cdef Writer part
    writer_init(&part)
    try:
        write_text(&part, ENTRY_KEY, key)
        write_text(&part, ENTRY_VALUE, value)
        return write_part(out, PUB_TAGS, &part)
    finally:
        writer_free(&part)


cdef int write_publication(Writer* out, str channel, Message message, Base base) except -1:
    """A publication pushed in ``channel``: all of its data, or a patch of ``base``.

    Without a base, and when the patch is not smaller, it is all.
    """
    cdef object info = message_info(message)
    cdef bytes patch = None if base is None else base.patch_to(message.data)
    write_data(out, PUB_DATA, message.data if patch is None else patch)
    if info is not None:
        write_info_part(out, PUB_INFO, info)
    write_number(out, PUB_OFFSET, message.offset)
    if message.own_tags:
        for key, value in message.own_tags.items():
            write_tag(out, key, value)
    if patch is not None:
        write_number(out, PUB_DELTA, True)
    if channel != message.channel:      # it came by a wildcard
        write_text(out, PUB_CHANNEL, message.channel)
    return 0


def protobuf_publication(Message message not None, *, bint delta=False, bytes base=None):
    cdef Writer out
    cdef Base start = Base(base) if delta and base is not None else None
    writer_init(&out)
    try:
        write_publication(&out, message.channel, message, start)
        return written(&out)
    finally:
        writer_free(&out)


def protobuf_client_info(info):
    cdef Writer out
    writer_init(&out)
    try:
        write_info(&out, info)
        return written(&out)
    finally:
        writer_free(&out)


@cython.final
cdef class ProtobufEncoder:
    """Pushes in Protobuf, each a reply with its length in front."""

    cdef Framing framing

    def __cinit__(self, Framing framing=None):
        self.framing = WebSocketFraming(BINARY) if framing is None else framing

    def publication(self, str channel not None, Message message not None):
        return self.published(channel, message, None)

    def publication_delta(self, str channel not None, Message message not None, Base base):
        return self.published(channel, message, base)

    cdef bytes published(self, str channel, Message message, Base base):
        cdef Writer body
        writer_init(&body)
        try:
            write_publication(&body, channel, message, base)
            return self.pushed(channel, PUSH_PUB, &body)
        finally:
            writer_free(&body)

    def join(self, str channel not None, info):
        return self.with_info(channel, PUSH_JOIN, info)

    def leave(self, str channel not None, info):
        return self.with_info(channel, PUSH_LEAVE, info)

    cdef bytes with_info(self, str channel, int field, info):
        cdef Writer body
        writer_init(&body)
        try:
            write_info_part(&body, JOIN_INFO, info)
            return self.pushed(channel, field, &body)
        finally:
            writer_free(&body)

    cdef bytes pushed(self, str channel, int field, Writer* body):
        cdef Writer push, reply, payload
        writer_init(&push)
        writer_init(&reply)
        writer_init(&payload)
        try:
            write_text(&push, PUSH_CHANNEL, channel)
            write_part(&push, field, body)
            write_part(&reply, REPLY_PUSH, &push)
            write_varint(&payload, reply.size)
            write_bytes(&payload, reply.data, reply.size)
            return self.framing.framed(payload.data, payload.size)
        finally:
            writer_free(&push)
            writer_free(&reply)
            writer_free(&payload)
