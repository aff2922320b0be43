"""What engines send to a broker: messages, infos, control and admin messages as bytes.

The first byte names the format, so that nodes of a later version can tell.
Numbers and lengths are varints (seven bits a byte, lowest first), texts UTF-8
behind their length, a timestamp a double of the machine (little-endian
wherever this runs). A message's channel and offset are not in it: they are
the broker's to tell.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fanout._message cimport Message, message_delta, message_info
from fanout._writer cimport (
    MOST_VARINT, Writer, write_byte, write_bytes, write_varint, writer_free, writer_init,
    written,
)

from fanout.types import AdminMessage, ClientInfo, ControlMessage


cdef enum Format:
    MESSAGE = 0x11
    INFO = 0x21
    CONTROL = 0x31
    ADMIN = 0x41

cdef enum Part:             # of a message, which parts it has
    HAS_CLIENT = 1          # another than the info's
    HAS_INFO = 2
    HAS_TAGS = 4
    WANTS_DELTA = 8         # nothing more of it follows


cdef struct Reader:
    const char* at
    const char* end


cdef int write_text(Writer* out, str text) except -1:
    """UnicodeEncodeError for a lone surrogate."""
    cdef Py_ssize_t size
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    write_varint(out, size)
    return write_bytes(out, utf8, size)


cdef int write_block(Writer* out, bytes block) except -1:
    write_varint(out, PyBytes_GET_SIZE(block))
    return write_bytes(out, PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block))


cdef int write_info(Writer* out, info) except -1:
    write_text(out, info.user)
    write_text(out, info.client)
    write_block(out, info.default_info)
    return write_block(out, info.channel_info)


cdef int cut_short() except -1:
    raise ValueError("the data ends too early")


cdef int start_reading(Reader* reader, bytes data, Py_ssize_t start, Format format) except -1:
    cdef uint8_t found
    if not 0 <= start <= PyBytes_GET_SIZE(data):
        raise ValueError(f"start must be between 0 and {len(data)}, not {start!r}")
    reader.at = PyBytes_AS_STRING(data) + start
    reader.end = PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)
    found = read_byte(reader)
    if found != <uint8_t>format:
        raise ValueError(f"format 0x{found:02x} where 0x{<int>format:02x} was expected")
    return 0


cdef int end_reading(Reader* reader) except -1:
    if reader.at != reader.end:
        raise ValueError(f"{reader.end - reader.at} bytes too many")
    return 0


cdef uint8_t read_byte(Reader* reader) except? 0xFF:
    if reader.at == reader.end:
        cut_short()
    cdef uint8_t byte = <uint8_t>reader.at[0]
    reader.at += 1
    return byte


cdef uint64_t read_varint(Reader* reader) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t number = 0
    cdef uint8_t byte
    cdef int at
    for at in range(MOST_VARINT):
        byte = read_byte(reader)
        if at == MOST_VARINT - 1 and byte > 1:
            break
        number |= <uint64_t>(byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return number
    raise ValueError("a number has more than 64 bits")


cdef const char* take(Reader* reader, Py_ssize_t* size) except NULL:
    """The next block, whose length comes before it."""
    cdef uint64_t length = read_varint(reader)
    cdef const char* block = reader.at
    if length > <uint64_t>(reader.end - reader.at):
        cut_short()
    reader.at += length
    size[0] = <Py_ssize_t>length
    return block


cdef str read_text(Reader* reader):
    cdef Py_ssize_t size
    cdef const char* block = take(reader, &size)
    return PyUnicode_DecodeUTF8(block, size, NULL)      # UnicodeDecodeError is a ValueError


cdef bytes read_block(Reader* reader):
    cdef Py_ssize_t size
    cdef const char* block = take(reader, &size)
    return PyBytes_FromStringAndSize(block, size)


cdef bytes read_rest(Reader* reader):
    return PyBytes_FromStringAndSize(reader.at, reader.end - reader.at)


cdef object read_info(Reader* reader):
    cdef str user = read_text(reader)
    cdef str client = read_text(reader)
    cdef bytes default_info = read_block(reader)
    return ClientInfo(user, client, default_info, read_block(reader))


cdef dict read_tags(Reader* reader):
    cdef uint64_t left = read_varint(reader)
    cdef dict tags = {}
    cdef str key
    while left > 0:             # each takes two bytes at least, so this ends soon
        key = read_text(reader)
        tags[key] = read_text(reader)
        left -= 1
    return tags


def encode_message(Message message not None):
    cdef Writer out
    cdef object info = message_info(message)
    cdef str client = message.client
    cdef uint8_t parts = 0
    if info is not None:
        parts |= HAS_INFO
    if client != ("" if info is None else info.client):
        parts |= HAS_CLIENT
    if message.own_tags is not None:
        parts |= HAS_TAGS
    if message_delta(message):
        parts |= WANTS_DELTA
    writer_init(&out)
    try:
        write_byte(&out, MESSAGE)
        write_byte(&out, parts)
        write_bytes(&out, <const char*>&message.timestamp, sizeof(double))
        write_text(&out, message.uid)
        if parts & HAS_CLIENT:
            write_text(&out, client)
        if parts & HAS_INFO:
            write_info(&out, info)
        if parts & HAS_TAGS:
            write_varint(&out, len(message.own_tags))
            for key, value in message.own_tags.items():
                write_text(&out, key)
                write_text(&out, value)
        write_bytes(&out, PyBytes_AS_STRING(message.data), PyBytes_GET_SIZE(message.data))
        return written(&out)
    finally:
        writer_free(&out)


def decode_message(str channel not None, bytes data not None, Py_ssize_t start=0, offset=0):
    cdef Reader reader
    cdef double timestamp
    cdef uint8_t parts
    cdef str uid, client = None
    cdef object info = None
    cdef dict tags = None
    start_reading(&reader, data, start, MESSAGE)
    parts = read_byte(&reader)
    if parts & ~(HAS_CLIENT | HAS_INFO | HAS_TAGS | WANTS_DELTA):
        raise ValueError(f"unknown parts 0x{parts:02x}")
    if reader.end - reader.at < <Py_ssize_t>sizeof(double):
        cut_short()
    memcpy(&timestamp, reader.at, sizeof(double))
    reader.at += sizeof(double)
    uid = read_text(&reader)
    if parts & HAS_CLIENT:
        client = read_text(&reader)
    if parts & HAS_INFO:
        info = read_info(&reader)
    if parts & HAS_TAGS:
        tags = read_tags(&reader)
    if client is None:
        client = "" if info is None else info.client
    return Message(channel, read_rest(&reader), uid=uid, timestamp=timestamp, client=client,
                   info=info, offset=offset, tags=tags, delta=parts & WANTS_DELTA != 0)


def encode_info(info):
    cdef Writer out
    writer_init(&out)
    try:
        write_byte(&out, INFO)
        write_info(&out, info)
        return written(&out)
    finally:
        writer_free(&out)


def decode_info(bytes data not None, Py_ssize_t start=0):
    cdef Reader reader
    start_reading(&reader, data, start, INFO)
    cdef object info = read_info(&reader)
    end_reading(&reader)
    return info


def encode_control(message):
    cdef Writer out
    writer_init(&out)
    try:
        write_byte(&out, CONTROL)
        write_text(&out, message.uid)
        write_text(&out, message.method)
        write_block(&out, message.params)
        return written(&out)
    finally:
        writer_free(&out)


def decode_control(bytes data not None, Py_ssize_t start=0):
    cdef Reader reader
    start_reading(&reader, data, start, CONTROL)
    cdef str uid = read_text(&reader)
    cdef str method = read_text(&reader)
    cdef object message = ControlMessage(uid, method, read_block(&reader))
    end_reading(&reader)
    return message


def encode_admin(message):
    cdef Writer out
    writer_init(&out)
    try:
        write_byte(&out, ADMIN)
        write_text(&out, message.method)
        write_block(&out, message.params)
        return written(&out)
    finally:
        writer_free(&out)


def decode_admin(bytes data not None, Py_ssize_t start=0):
    cdef Reader reader
    start_reading(&reader, data, start, ADMIN)
    cdef str method = read_text(&reader)
    cdef object message = AdminMessage(method, read_block(&reader))
    end_reading(&reader)
    return message
