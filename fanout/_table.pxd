"""A hash table from a Python string to a C record.

Open addressing with linear probing; a slot is a hash and a pointer, so a miss
is decided without touching a record. Records are allocated by their users and
begin with ``Record``. A table is a plain struct so that it can live inside a
record of another table (presence keeps one per channel).
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t


cdef struct Record:
    PyObject* name_owned    # str; released by table_take and by the user's free
    Py_hash_t hash

cdef struct Slot:
    Py_hash_t hash
    Record* record          # NULL: empty

cdef struct Table:
    Slot* slots             # NULL until the first insert
    size_t mask             # capacity - 1; capacity is a power of two
    size_t count

cdef struct Cursor:
    size_t slot


cdef inline void table_init(Table* table) noexcept:
    table.slots = NULL
    table.mask = 0
    table.count = 0


cdef inline Record* table_next(const Table* table, Cursor* cursor) noexcept:
    """The next record in no particular order, NULL at the end.

    The table must not change between two calls.
    """
    if table.slots == NULL:
        return NULL
    while cursor.slot <= table.mask:
        cursor.slot += 1
        if table.slots[cursor.slot - 1].record != NULL:
            return table.slots[cursor.slot - 1].record
    return NULL


cdef Record* table_find(const Table* table, str name) except? NULL
cdef int table_reserve(Table* table) except -1
cdef void table_insert(Table* table, Record* record, str name) noexcept
cdef void table_remove(Table* table, Record* record) noexcept
cdef void table_free(Table* table) noexcept
