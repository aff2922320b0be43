"""One publication in a channel, as compact as a Python object can be."""

from libc.stdint cimport uint64_t


cdef class Message:
    # Either a str that was given, or None and the number of a message made
    # here: its text is made when somebody asks. The number's highest bit is
    # the wish for deltas, which costs no field of its own.
    cdef str given_uid
    cdef uint64_t number
    cdef readonly double timestamp
    cdef readonly str channel
    cdef readonly bytes data
    # Who published it, in one field: None for the application, a ClientInfo,
    # a str for a client without one, or a tuple where the two disagree.
    cdef object origin
    cdef readonly uint64_t offset
    cdef dict own_tags          # handed out as copies: a message is shared


# No methods in C: they would cost each message a pointer.
cdef Message message_placed(Message message, uint64_t offset)
cdef object message_info(Message message)

cdef enum:
    DELTA_SHIFT = 63

cdef inline bint message_delta(Message message) noexcept:
    """Whether the publisher asked for deltas."""
    return message.number >> DELTA_SHIFT
cdef dict checked_tags(tags)     # a copy, or TypeError
