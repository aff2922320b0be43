"""The reading half of a WebSocket (RFC 6455), for the server's side.

Bytes go in as they arrive, whole messages and control frames come out. An
idle connection holds no buffer. Compressed messages (RFC 7692) are inflated
one by one: none needs what an earlier one left in a window.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from zlib import decompressobj, error as zlib_error


cdef enum:
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10
    LARGEST_CONTROL = 125
    PROTOCOL_ERROR = 1002
    INVALID_TEXT = 1007
    TOO_BIG = 1009
    FIN = 0x80
    RSV1 = 0x40                 # of a message's first frame: it is compressed
    RSV2_RSV3 = 0x30
    INFLATED_WINDOW = -15       # raw DEFLATE; a peer's window may be smaller
    WINDOW_SIZE = 32768         # bytes
    MOST_FINAL_BLOCKS = 16      # each needs an inflater of its own
    INFLATED_AT_ONCE = 1048576  # bytes; what more was read waits for the next feed

# What a sender leaves out at the end of a message (RFC 7692 section 7.2.1).
cdef bytes TAIL = b"\x00\x00\xff\xff"


class WebSocketError(Exception):
    """The peer broke the protocol or a limit; ``code`` closes the connection."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.messages = []


cdef bytes unmasked(const uint8_t* payload, Py_ssize_t size, const uint8_t* mask):
    cdef bytes clear = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(clear)
    cdef uint64_t mask_word, word
    cdef Py_ssize_t at = 0
    memcpy(&mask_word, mask, 4)
    memcpy(<uint8_t*>&mask_word + 4, mask, 4)
    while at + 8 <= size:
        memcpy(&word, payload + at, 8)
        word ^= mask_word
        memcpy(to + at, &word, 8)
        at += 8
    while at < size:
        to[at] = payload[at] ^ mask[at & 3]
        at += 1
    return clear


cdef bytes inflated(bytes payload, Py_ssize_t limit):
    """The message that was compressed to ``payload``; never makes more than ``limit`` bytes."""
    cdef bytes rest = payload + TAIL
    cdef bytes clear = b"", more
    cdef object inflater
    cdef int final_blocks
    for final_blocks in range(MOST_FINAL_BLOCKS):
        # What follows a final block may still refer to what came before it.
        inflater = decompressobj(INFLATED_WINDOW, zdict=clear[max(0, len(clear) - WINDOW_SIZE):])
        try:
            # One byte more than allowed, to see that it is too much.
            more = inflater.decompress(rest, limit - len(clear) + 1)
        except zlib_error:
            break
        clear = clear + more if clear else more
        if len(clear) > limit:
            raise WebSocketError(
                TOO_BIG, f"a message is longer than {limit} bytes when it is inflated")
        if not inflater.eof:
            return clear
        rest = inflater.unused_data
        if rest == TAIL or not rest:
            return clear
    raise WebSocketError(INVALID_TEXT, "a compressed message cannot be inflated")


@cython.final
cdef class WebSocketReader:
    cdef Py_ssize_t limit           # bytes of one message
    cdef Py_ssize_t inflated_limit  # bytes of one that was compressed; 0: none may be
    cdef bytearray held             # the beginning of an unfinished frame, or None
    cdef bytearray fragments        # the payload of an unfinished message, or None
    cdef int fragments_opcode
    cdef bint compressed            # the unfinished message is
    cdef Py_ssize_t made            # bytes inflated in this feed
    cdef readonly bint has_more

    def __cinit__(self, Py_ssize_t limit, Py_ssize_t inflated_limit=0):
        if limit <= 0:
            raise ValueError(f"limit must be above 0 bytes, not {limit!r}")
        if inflated_limit < 0:
            raise ValueError(f"inflated_limit must not be below 0, not {inflated_limit!r}")
        self.limit = limit
        self.inflated_limit = inflated_limit

    def feed(self, bytes data not None):
        cdef list messages = []
        cdef const uint8_t* start
        cdef Py_ssize_t size, used = 0, step
        self.made = 0
        self.has_more = False
        if self.held is not None:
            self.held += data
            start = <const uint8_t*>PyByteArray_AS_STRING(self.held)
            size = len(self.held)
        else:
            start = <const uint8_t*>PyBytes_AS_STRING(data)
            size = len(data)
        while used < size:
            try:
                step = self.frame(start + used, size - used, messages)
            except WebSocketError as error:
                error.messages = messages
                raise
            if step == 0:
                break
            used += step
            if self.made > INFLATED_AT_ONCE and used < size:
                self.has_more = True
                break
        if used == size:
            self.held = None
        elif self.held is None:
            self.held = bytearray(data[used:])
        elif used > 0:
            del self.held[:used]
        return messages

    cdef Py_ssize_t frame(self, const uint8_t* at, Py_ssize_t size, list messages) except -1:
        """Read one frame; how long it was, or 0 when it is not whole yet."""
        cdef int opcode, header
        cdef bint final, compressed
        cdef uint64_t length
        cdef int byte
        cdef Py_ssize_t before = 0
        cdef bytes payload
        if size < 2:
            return 0
        opcode = at[0] & 0x0F
        final = at[0] & FIN != 0
        compressed = at[0] & RSV1 != 0
        if at[0] & RSV2_RSV3 or compressed and (
            self.inflated_limit == 0 or opcode == CONTINUATION or opcode >= CLOSE
        ):
            raise WebSocketError(PROTOCOL_ERROR, "reserved bits are set")
        if not at[1] & 0x80:
            raise WebSocketError(PROTOCOL_ERROR, "a client's frame must be masked")
        length = at[1] & 0x7F
        header = 2
        if opcode >= CLOSE:
            if opcode > PONG:
                raise WebSocketError(PROTOCOL_ERROR, f"unknown opcode {opcode}")
            if not final or length > LARGEST_CONTROL:
                raise WebSocketError(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        elif opcode > BINARY:
            raise WebSocketError(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        elif (opcode == CONTINUATION) != (self.fragments is not None):
            raise WebSocketError(PROTOCOL_ERROR, "a continuation is misplaced")
        if length >= 126:
            header = 4 if length == 126 else 10
            if size < header:
                return 0
            length = 0
            for byte in range(2, header):
                length = length << 8 | at[byte]
        # Before waiting for the payload: a peer must not make us hold more.
        if self.fragments is not None:
            before = len(self.fragments)
        if opcode < CLOSE and length > <uint64_t>(self.limit - before):
            raise WebSocketError(TOO_BIG, f"a message is longer than {self.limit} bytes")
        if <uint64_t>size < header + 4 + length:
            return 0
        payload = unmasked(at + header + 4, <Py_ssize_t>length, at + header)
        self.take(opcode, final, compressed, payload, messages)
        return header + 4 + <Py_ssize_t>length

    cdef int take(
        self, int opcode, bint final, bint compressed, bytes payload, list messages
    ) except -1:
        if opcode >= CLOSE:
            messages.append((opcode, payload))
            return 0
        if opcode != CONTINUATION and final:
            self.add_message(opcode, compressed, payload, messages)
            return 0
        if self.fragments is None:
            self.fragments = bytearray()
            self.fragments_opcode = opcode
            self.compressed = compressed
        self.fragments += payload
        if final:
            payload = bytes(self.fragments)
            self.fragments = None
            self.add_message(self.fragments_opcode, self.compressed, payload, messages)
        return 0

    cdef int add_message(
        self, int opcode, bint compressed, bytes payload, list messages
    ) except -1:
        if compressed:
            payload = inflated(payload, self.inflated_limit)
            self.made += len(payload)
        if opcode == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise WebSocketError(INVALID_TEXT, "a text message is not UTF-8") from None
        messages.append((opcode, payload))
        return 0
