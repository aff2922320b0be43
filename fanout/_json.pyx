"""JSON on its way through: checked and copied, never parsed into objects.

A payload that clients of the JSON protocol are to read is embedded in the
frame as it is, so that it keeps its number and key formats to the byte; it
must be one valid value (RFC 8259), or the whole frame would be unreadable.
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t
from libc.string cimport memchr

from fanout._writer cimport Writer, write_bytes


cdef enum:
    DEEPEST = 512           # levels of nesting; deeper values are taken as invalid


cdef int write_string(Writer* writer, str text) except -1:
    """Write text as a JSON string; UnicodeEncodeError for a lone surrogate."""
    cdef Py_ssize_t size
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    return write_escaped(writer, utf8, size)


cdef int write_escaped(Writer* writer, const char* utf8, Py_ssize_t size) except -1:
    """Write UTF-8 text as a JSON string."""
    cdef Py_ssize_t start = 0, at
    cdef uint8_t byte
    cdef char escape[6]
    write_bytes(writer, b'"', 1)
    for at in range(size):
        byte = <uint8_t>utf8[at]
        if byte >= 0x20 and byte != ord(b'"') and byte != ord(b"\\"):
            continue
        write_bytes(writer, utf8 + start, at - start)
        start = at + 1
        escape[0] = ord(b"\\")
        if byte >= 0x20:
            escape[1] = byte
            write_bytes(writer, escape, 2)
        else:
            escape[1] = ord(b"u")
            escape[2] = escape[3] = ord(b"0")
            escape[4] = b"0123456789abcdef"[byte >> 4]
            escape[5] = b"0123456789abcdef"[byte & 15]
            write_bytes(writer, escape, 6)
    write_bytes(writer, utf8 + start, size - start)
    return write_bytes(writer, b'"', 1)


cdef int write_number(Writer* writer, unsigned long long number) except -1:
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <char>(ord(b"0") + number % 10)
        number = number // 10
        if number == 0:
            return write_bytes(writer, digits + at, 20 - at)


cdef int write_raw(Writer* writer, bytes value) except -1:
    """Write a valid JSON value as it is, on one line: the newline ends a message."""
    cdef const char* start = value
    cdef const char* end = start + len(value)
    cdef const char* newline
    while True:
        newline = <const char*>memchr(start, ord(b"\n"), end - start)
        if newline == NULL:
            return write_bytes(writer, start, end - start)
        write_bytes(writer, start, newline - start)
        start = newline + 1


cdef inline bint is_space(uint8_t byte) noexcept nogil:
    return byte == ord(b" ") or byte == ord(b"\n") or byte == ord(b"\r") or byte == ord(b"\t")


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return ord(b"0") <= byte <= ord(b"9")


cdef inline bint is_hex(uint8_t byte) noexcept nogil:
    return (
        is_digit(byte) or ord(b"a") <= byte <= ord(b"f") or ord(b"A") <= byte <= ord(b"F"))


cdef const uint8_t* past_utf8(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past one character of two to four bytes; NULL when it is not UTF-8."""
    cdef uint8_t lead = at[0]
    cdef uint8_t low = 0x80         # of the second byte, narrower for some leads
    cdef uint8_t high = 0xBF
    cdef int follow
    if 0xC2 <= lead <= 0xDF:
        follow = 1
    elif 0xE0 <= lead <= 0xEF:
        follow = 2
        if lead == 0xE0:
            low = 0xA0
        elif lead == 0xED:
            high = 0x9F             # else it would be a surrogate
    elif 0xF0 <= lead <= 0xF4:
        follow = 3
        if lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F
    else:
        return NULL
    if end - at <= follow or not low <= at[1] <= high:
        return NULL
    at += 2
    while follow > 1:
        if at[0] & 0xC0 != 0x80:
            return NULL
        at += 1
        follow -= 1
    return at


cdef const uint8_t* past_string(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past a string whose opening quote is behind ``at``; NULL when it is invalid."""
    cdef int digit
    while at < end:
        if at[0] == ord(b'"'):
            return at + 1
        if at[0] == ord(b"\\"):
            if end - at < 2:
                return NULL
            if at[1] == ord(b"u"):
                if end - at < 6:
                    return NULL
                for digit in range(2, 6):
                    if not is_hex(at[digit]):
                        return NULL
                at += 6
            elif memchr(b'"\\/bfnrt', at[1], 8) != NULL:
                at += 2
            else:
                return NULL
        elif at[0] < 0x20:
            return NULL
        elif at[0] < 0x80:
            at += 1
        else:
            at = past_utf8(at, end)
            if at == NULL:
                return NULL
    return NULL


cdef const uint8_t* past_digits(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past one or more digits; NULL when there is none."""
    if at == end or not is_digit(at[0]):
        return NULL
    while at < end and is_digit(at[0]):
        at += 1
    return at


cdef const uint8_t* past_number(const uint8_t* at, const uint8_t* end) noexcept nogil:
    if at < end and at[0] == ord(b"-"):
        at += 1
    if at < end and at[0] == ord(b"0"):
        at += 1
    else:
        at = past_digits(at, end)
    if at != NULL and at < end and at[0] == ord(b"."):
        at = past_digits(at + 1, end)
    if at != NULL and at < end and (at[0] == ord(b"e") or at[0] == ord(b"E")):
        at += 1
        if at < end and (at[0] == ord(b"+") or at[0] == ord(b"-")):
            at += 1
        at = past_digits(at, end)
    return at


cdef inline bint starts_with(
    const uint8_t* at, const uint8_t* end, const char* word, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t index
    if end - at < size:
        return False
    for index in range(size):
        if at[index] != <uint8_t>word[index]:
            return False
    return True


cdef bint is_json(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """Whether the bytes are one JSON value in UTF-8, with white space around it."""
    cdef const uint8_t* at = text
    cdef const uint8_t* end = text + size
    cdef char open_with[DEEPEST]    # the bracket of each level that is open
    cdef int depth = 0
    cdef bint value_next = True     # else: a comma, a closing bracket or the end
    cdef bint may_close = False     # right behind an opening bracket
    while True:
        while at < end and is_space(at[0]):
            at += 1
        if at == end:
            return depth == 0 and not value_next
        if not value_next or may_close:
            if depth > 0 and (
                (at[0] == ord(b"}") and open_with[depth - 1] == ord(b"{"))
                or (at[0] == ord(b"]") and open_with[depth - 1] == ord(b"["))
            ):
                depth -= 1
                at += 1
                value_next = may_close = False
                continue
            if not value_next:
                if depth == 0 or at[0] != ord(b","):
                    return False
                at += 1
                value_next = True
                while at < end and is_space(at[0]):
                    at += 1
                if at == end:
                    return False
        may_close = False
        if depth > 0 and open_with[depth - 1] == ord(b"{"):
            if at[0] != ord(b'"'):
                return False
            at = past_string(at + 1, end)
            if at == NULL:
                return False
            while at < end and is_space(at[0]):
                at += 1
            if at == end or at[0] != ord(b":"):
                return False
            at += 1
            while at < end and is_space(at[0]):
                at += 1
            if at == end:
                return False
        if at[0] == ord(b"{") or at[0] == ord(b"["):
            if depth == DEEPEST:
                return False
            open_with[depth] = <char>at[0]
            depth += 1
            at += 1
            value_next = may_close = True
            continue
        if at[0] == ord(b'"'):
            at = past_string(at + 1, end)
        elif at[0] == ord(b"t"):
            at = at + 4 if starts_with(at, end, b"true", 4) else NULL
        elif at[0] == ord(b"f"):
            at = at + 5 if starts_with(at, end, b"false", 5) else NULL
        elif at[0] == ord(b"n"):
            at = at + 4 if starts_with(at, end, b"null", 4) else NULL
        else:
            at = past_number(at, end)
        if at == NULL:
            return False
        value_next = False


def valid_json(bytes data not None):
    """Whether ``data`` is one JSON value in UTF-8 (at most 512 levels deep)."""
    return bool(is_json(data, len(data)))
