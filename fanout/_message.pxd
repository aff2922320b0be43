"""One publication in a channel, as compact as a Python object can be."""

from libc.stdint cimport uint64_t


cdef class Message:
    # Either a str that was given, or NULL and the number of a message made
    # here: its text is made when somebody asks.
    cdef str given_uid
    cdef uint64_t number
    cdef readonly double timestamp
    cdef readonly str channel
    cdef readonly bytes data
    cdef readonly str client
    cdef readonly object info
    cdef readonly uint64_t offset
    cdef dict own_tags          # handed out as copies: a message is shared

    cdef Message placed(self, uint64_t offset)
