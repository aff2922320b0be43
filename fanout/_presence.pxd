"""Who is on which channel, each entry with its own expiry."""

from cpython.object cimport PyObject

from fanout._expiry cimport Deadline, DeadlineSink, Expiry
from fanout._table cimport Record, Table


cdef struct Room:
    Record record           # by channel
    Table entries

cdef struct Presence:
    Record record           # by connection id
    PyObject* info_owned
    Room* room
    Deadline deadline


cdef class PresenceStore(DeadlineSink):
    cdef Table rooms
    cdef Expiry expiry
    cdef double lifetime
    cdef Py_ssize_t entries

    cdef Room* room_for(self, str channel) except NULL
    cdef void free_if_empty(self, Room* room) noexcept
    cdef int remove_entry(self, Presence* entry) except -1
