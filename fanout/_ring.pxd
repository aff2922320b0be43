"""History: each channel's stream, a bounded and expiring ring of messages."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fanout._expiry cimport Deadline, DeadlineSink, Expiry
from fanout._table cimport Record, Table


cdef enum:
    EPOCH_LENGTH = 8

cdef struct Stream:
    Record record
    PyObject** slots        # owned Messages; NULL until the first one
    uint32_t capacity       # of slots
    uint32_t first          # slot of the oldest message
    uint32_t count
    char epoch[EPOCH_LENGTH]
    uint64_t top            # offset of the newest message ever stored
    uint64_t version        # of the newest message that had one; 0: none had
    PyObject* version_epoch # owned str, NULL without a version
    double messages_end     # when the messages expire
    double meta_lifetime    # seconds; of the last publish that said it
    double meta_end         # when offset and epoch do; behind the messages
    Deadline deadline       # the next of the two


cdef class HistoryStore(DeadlineSink):
    cdef Table table
    cdef Expiry expiry
    cdef double meta_lifetime
    cdef Py_ssize_t messages

    cdef Stream* find(self, str channel, double now) except? NULL
    cdef Stream* find_or_create(self, str channel, double now) except NULL
    cdef int touch(self, Stream* stream, double now) except -1
    cdef int remove_stream(self, Stream* stream) except -1
    cdef int drop_messages(self, Stream* stream) except -1
    cdef int reserve(self, Stream* stream, uint32_t size) except -1
    cdef object position_of(self, Stream* stream)
