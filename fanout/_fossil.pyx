"""Differences between two byte strings, in the format of Fossil's deltas.

A patch is the target's size and a newline, then copies ``size@offset,`` of
the base and literals ``size:bytes``, then the target's checksum and ``;``.
Numbers are in base 64, the highest digit first.

Where the target is UTF-8, each literal is whole characters, so that a patch
can be said in a JSON string.

The time is linear in the sizes, whatever the bytes: of the base's blocks with
the hash that is looked for at most ``MOST_TRIES`` are compared, and where one
of them matches, the search goes on behind the match.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from fanout._memory cimport allocate, release
from fanout._writer cimport Writer, write_byte, write_bytes, writer_free, writer_init, written


cdef enum:
    BLOCK = 16              # bytes that must match to be found
    LEAST_COPY = 8          # bytes at an end that are worth a copy
    MOST_TRIES = 16
    MOST_DIGITS = 6         # of a 32-bit number
    LAST_OF_CHARACTER = 3   # bytes that may follow the first of a character
    CHECKSUM_WORD = 4       # bytes

cdef uint64_t LARGEST = 0xFFFFFFFF
cdef uint32_t MULTIPLIER = 0x01000193
cdef const char* DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"


# -- making a patch


cdef struct Index:          # of the base's blocks, by hash
    uint32_t* first         # by bucket: number of a block + 1, 0 for none; owned
    uint32_t* next          # by block: the next one of its bucket; behind `first`
    int shift               # of a hash, to get its bucket


cdef inline uint32_t bucket_of(const Index* index, uint32_t hash) noexcept:
    return <uint32_t>(hash * 0x9E3779B1u) >> index.shift


cdef inline uint32_t hash_of(const uint8_t* block) noexcept:
    cdef uint32_t hash = 0
    cdef int at
    for at in range(BLOCK):
        hash = hash * MULTIPLIER + block[at]
    return hash


cdef uint32_t multiplier_of_the_oldest() noexcept:
    cdef uint32_t power = 1
    cdef int at
    for at in range(BLOCK):
        power *= MULTIPLIER
    return power


cdef uint32_t OLDEST = multiplier_of_the_oldest()


cdef int index_base(Index* index, const uint8_t* base, Py_ssize_t size) except -1:
    cdef Py_ssize_t blocks = size // BLOCK, block
    cdef int bits = 1
    cdef uint32_t bucket
    while (<Py_ssize_t>1 << bits) < blocks:
        bits += 1
    index.shift = 32 - bits
    index.first = <uint32_t*>allocate(((<size_t>1 << bits) + blocks) * sizeof(uint32_t))
    index.next = index.first + (<size_t>1 << bits)
    memset(index.first, 0, (<size_t>1 << bits) * sizeof(uint32_t))
    # From the end, so that the first blocks are found first.
    for block in range(blocks - 1, -1, -1):
        bucket = bucket_of(index, hash_of(base + block * BLOCK))
        index.next[block] = index.first[bucket]
        index.first[bucket] = <uint32_t>(block + 1)
    return 0


cdef inline Py_ssize_t common(const uint8_t* one, const uint8_t* other, Py_ssize_t most) noexcept:
    """How many bytes are the same from here on."""
    cdef Py_ssize_t size = 0
    while size + <Py_ssize_t>sizeof(uint64_t) <= most and (
        memcmp(one + size, other + size, sizeof(uint64_t)) == 0
    ):
        size += sizeof(uint64_t)
    while size < most and one[size] == other[size]:
        size += 1
    return size


cdef inline Py_ssize_t common_before(
    const uint8_t* one, const uint8_t* other, Py_ssize_t most
) noexcept:
    """How many bytes are the same up to here."""
    cdef Py_ssize_t size = 0
    while size < most and one[-1 - size] == other[-1 - size]:
        size += 1
    return size


cdef inline Py_ssize_t into_character(const uint8_t* text, Py_ssize_t at, Py_ssize_t size) noexcept:
    """How many bytes ``at`` lies behind the first one of its character."""
    cdef Py_ssize_t back = 0
    if at < size:
        while back < LAST_OF_CHARACTER and back < at and text[at - back] & 0xC0 == 0x80:
            back += 1
    return back


cdef inline Py_ssize_t to_character(const uint8_t* text, Py_ssize_t at, Py_ssize_t size) noexcept:
    """How many bytes from ``at`` to the first one of a character."""
    cdef Py_ssize_t ahead = 0
    while ahead < LAST_OF_CHARACTER and at + ahead < size and text[at + ahead] & 0xC0 == 0x80:
        ahead += 1
    return ahead


cdef int write_number(Writer* out, uint32_t number) except -1:
    cdef char digits[MOST_DIGITS]
    cdef int at = MOST_DIGITS
    while True:
        at -= 1
        digits[at] = DIGITS[number & 63]
        number >>= 6
        if number == 0:
            return write_bytes(out, digits + at, MOST_DIGITS - at)


cdef int write_literal(Writer* out, const uint8_t* text, Py_ssize_t size) except -1:
    if size == 0:
        return 0
    write_number(out, <uint32_t>size)
    write_byte(out, ord(b":"))
    return write_bytes(out, <const char*>text, size)


cdef int write_copy(Writer* out, Py_ssize_t size, Py_ssize_t offset) except -1:
    write_number(out, <uint32_t>size)
    write_byte(out, ord(b"@"))
    write_number(out, <uint32_t>offset)
    return write_byte(out, ord(b","))


cdef uint32_t checksum(const uint8_t* data, Py_ssize_t size) noexcept:
    """The sum of its big-endian 32-bit words, the last one filled with zeros."""
    cdef uint32_t sum = 0, word = 0
    cdef Py_ssize_t at
    for at in range(size):
        word = word << 8 | data[at]
        if at % CHECKSUM_WORD == CHECKSUM_WORD - 1:
            sum += word
            word = 0
    if size % CHECKSUM_WORD:
        sum += word << (8 * (CHECKSUM_WORD - size % CHECKSUM_WORD))
    return sum


cdef int write_middle(
    Writer* out, const Index* index, const uint8_t* base, Py_ssize_t base_size,
    const uint8_t* target, Py_ssize_t start, Py_ssize_t end,
) except -1:
    """Write target[start:end], where ``end`` is the end of a character."""
    cdef Py_ssize_t said = start        # of the target, in what is written
    cdef Py_ssize_t at = start
    cdef Py_ssize_t size, offset, from_here, best, best_offset = 0
    cdef uint32_t hash, block
    cdef int tries
    hash = hash_of(target + at)
    while True:
        best = 0
        block = index.first[bucket_of(index, hash)]
        tries = MOST_TRIES
        while block and tries:
            offset = <Py_ssize_t>(block - 1) * BLOCK
            size = common(
                base + offset, target + at, min(base_size - offset, end - at))
            if size > best:
                best = size
                best_offset = offset
            block = index.next[block - 1]
            tries -= 1
        if best < BLOCK:
            if at + BLOCK >= end:
                break
            hash = hash * MULTIPLIER + target[at + BLOCK] - target[at] * OLDEST
            at += 1
            continue
        size = common_before(base + best_offset, target + at, min(best_offset, at - said))
        from_here = at - size
        offset = best_offset - size
        size += best
        best = to_character(target, from_here, end)
        from_here += best
        offset += best
        size -= best
        size -= into_character(target, from_here + size, end)
        write_literal(out, target + said, from_here - said)
        write_copy(out, size, offset)
        said = at = from_here + size
        if at + BLOCK > end:
            break
        hash = hash_of(target + at)
    return write_literal(out, target + said, end - said)


cdef int write_patch(
    Writer* out, const uint8_t* base, Py_ssize_t base_size, const uint8_t* target, Py_ssize_t size
) except -1:
    cdef Index index
    cdef Py_ssize_t start, end
    write_number(out, <uint32_t>size)
    write_byte(out, ord(b"\n"))
    start = common(base, target, min(base_size, size))
    start -= into_character(target, start, size)
    if start < LEAST_COPY:
        start = 0
    else:
        write_copy(out, start, 0)
    end = size - common_before(base + base_size, target + size, min(base_size, size) - start)
    end += to_character(target, end, size)
    if size - end < LEAST_COPY:
        end = size
    if end - start < BLOCK or base_size < BLOCK:
        write_literal(out, target + start, end - start)
    else:
        index_base(&index, base, base_size)
        try:
            write_middle(out, &index, base, base_size, target, start, end)
        finally:
            release(index.first)
    if end < size:
        write_copy(out, size - end, base_size - (size - end))
    write_number(out, checksum(target, size))
    return write_byte(out, ord(b";"))


cdef bint too_large(bytes base, bytes target) noexcept:
    return <uint64_t>PyBytes_GET_SIZE(base) > LARGEST or <uint64_t>PyBytes_GET_SIZE(target) > LARGEST


cdef int write_between(Writer* out, bytes base, bytes target) except -1:
    return write_patch(
        out,
        <const uint8_t*>PyBytes_AS_STRING(base), PyBytes_GET_SIZE(base),
        <const uint8_t*>PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target))


def create(bytes base not None, bytes target not None):
    cdef Writer out
    if too_large(base, target):
        raise ValueError(
            f"a delta is of at most {LARGEST} bytes, not from {len(base)} to {len(target)}")
    writer_init(&out)
    try:
        write_between(&out, base, target)
        return written(&out)
    finally:
        writer_free(&out)


cdef bytes patch_or_none(bytes base, bytes target):
    """A patch that is smaller than the target, or None."""
    cdef Writer out
    if too_large(base, target):
        return None
    writer_init(&out)
    try:
        write_between(&out, base, target)
        return written(&out) if out.size < PyBytes_GET_SIZE(target) else None
    finally:
        writer_free(&out)


@cython.final
@cython.no_gc       # bytes: no cycles
cdef class Base:
    def __init__(self, bytes data not None):
        self.data = data

    cdef bytes patch_to(self, bytes new):
        """A patch that is smaller than ``new``, or None; made once for all who ask."""
        if self.target is not new:
            self.patch = patch_or_none(self.data, new)
            self.target = new
        return self.patch


# -- applying one


cdef struct Patch:
    const uint8_t* at
    const uint8_t* end


cdef uint32_t read_number(Patch* patch) except? 0xFFFFFFFF:
    """The digits that are next; none are 0."""
    cdef uint64_t number = 0
    cdef uint8_t byte
    cdef int digit
    while patch.at < patch.end:
        byte = patch.at[0]
        if ord(b"0") <= byte <= ord(b"9"):
            digit = byte - ord(b"0")
        elif ord(b"A") <= byte <= ord(b"Z"):
            digit = byte - ord(b"A") + 10
        elif byte == ord(b"_"):
            digit = 36
        elif ord(b"a") <= byte <= ord(b"z"):
            digit = byte - ord(b"a") + 37
        elif byte == ord(b"~"):
            digit = 63
        else:
            break
        number = number << 6 | <uint64_t>digit
        if number > LARGEST:
            raise ValueError("a number has more than 32 bits")
        patch.at += 1
    return <uint32_t>number


cdef uint8_t read_byte(Patch* patch) except? 0xFF:
    if patch.at == patch.end:
        raise ValueError("the patch ends too early")
    cdef uint8_t byte = patch.at[0]
    patch.at += 1
    return byte


cdef int apply_patch(
    Writer* out, const uint8_t* base, Py_ssize_t base_size, Patch* patch
) except -1:
    cdef Py_ssize_t target_size = read_number(patch)
    cdef uint32_t number
    cdef Py_ssize_t size, offset
    cdef uint8_t command
    if read_byte(patch) != ord(b"\n"):
        raise ValueError("there is no newline behind the target's size")
    while True:
        number = read_number(patch)
        size = number
        command = read_byte(patch)
        if command == ord(b";"):
            break
        if size > target_size - out.size:
            raise ValueError(f"the patch makes more than the {target_size} bytes it says")
        if command == ord(b"@"):
            offset = read_number(patch)
            if read_byte(patch) != ord(b","):
                raise ValueError("there is no comma behind a copy")
            if offset > base_size or size > base_size - offset:
                raise ValueError(f"a copy reaches beyond the {base_size} bytes of the base")
            write_bytes(out, <const char*>base + offset, size)
        elif command == ord(b":"):
            if size > patch.end - patch.at:
                raise ValueError("a literal reaches beyond the patch")
            write_bytes(out, <const char*>patch.at, size)
            patch.at += size
        else:
            raise ValueError(f"unknown command {command:#04x}")
    if out.size != target_size:
        raise ValueError(f"the patch makes {out.size} bytes, not the {target_size} it says")
    if number != checksum(<const uint8_t*>out.data, out.size):
        raise ValueError("the checksum is wrong: it is a patch for another base")
    if patch.at != patch.end:
        raise ValueError(f"{patch.end - patch.at} bytes too many")
    return 0


def apply(bytes base not None, bytes patch not None):
    cdef Writer out
    cdef Patch reading
    reading.at = <const uint8_t*>PyBytes_AS_STRING(patch)
    reading.end = reading.at + PyBytes_GET_SIZE(patch)
    writer_init(&out)
    try:
        apply_patch(
            &out, <const uint8_t*>PyBytes_AS_STRING(base), PyBytes_GET_SIZE(base), &reading)
        return written(&out)
    finally:
        writer_free(&out)
