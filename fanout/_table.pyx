"""A hash table from a Python string to a C record."""

from cpython.object cimport PyObject, PyObject_Hash
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.string cimport memcmp, memset

from fanout._memory cimport check, disown, own, release, try_allocate


cdef extern from "Python.h":
    int PyUnicode_KIND(object)
    void* PyUnicode_DATA(object)

cdef enum:
    SMALLEST = 8            # slots of a table with few records


cdef inline bint same_name(PyObject* left, PyObject* right) noexcept:
    if left == right:
        return True
    cdef object a = <object>left
    cdef object b = <object>right
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(a)
    cdef int kind = PyUnicode_KIND(a)
    # Strings are stored in their narrowest kind, so equal strings agree in it.
    return (
        length == PyUnicode_GET_LENGTH(b)
        and kind == PyUnicode_KIND(b)
        and memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), length * kind) == 0
    )


cdef inline size_t home(const Table* table, Py_hash_t hash) noexcept:
    return <size_t>hash & table.mask


cdef Record* table_find(const Table* table, str name) except? NULL:
    """The record called ``name``, or NULL."""
    if table.slots == NULL:
        return NULL
    cdef Py_hash_t hash = PyObject_Hash(name)
    cdef size_t at = home(table, hash)
    cdef Slot* slot
    # Ends: the load factor leaves empty slots.
    while True:
        slot = &table.slots[at]
        if slot.record == NULL:
            return NULL
        if slot.hash == hash and same_name(slot.record.name_owned, <PyObject*>name):
            return slot.record
        at = (at + 1) & table.mask


cdef void place(Table* table, Record* record) noexcept:
    cdef size_t at = home(table, record.hash)
    while table.slots[at].record != NULL:
        at = (at + 1) & table.mask
    table.slots[at].hash = record.hash
    table.slots[at].record = record


cdef bint rebuild(Table* table, size_t capacity) noexcept:
    """Move to an array of ``capacity`` slots; False when there is no memory for it."""
    cdef Slot* old = table.slots
    cdef size_t old_capacity = table.mask + 1 if old != NULL else 0
    cdef Slot* slots = <Slot*>try_allocate(capacity * sizeof(Slot))
    cdef size_t at
    if slots == NULL:
        return False
    memset(slots, 0, capacity * sizeof(Slot))
    table.slots = slots
    table.mask = capacity - 1
    for at in range(old_capacity):
        if old[at].record != NULL:
            place(table, old[at].record)
    release(old)
    return True


cdef int table_reserve(Table* table) except -1:
    """Make room for one more record, so that inserting it cannot fail."""
    cdef bint reserved = True
    if table.slots == NULL:
        reserved = rebuild(table, SMALLEST)
    elif (table.count + 1) * 4 > (table.mask + 1) * 3:
        reserved = rebuild(table, (table.mask + 1) * 2)
    if not reserved:
        raise MemoryError()
    return 0


cdef void table_insert(Table* table, Record* record, str name) noexcept:
    """Add a record under a name that is not there yet; the record owns the name.

    The caller has reserved room.
    """
    check(table.slots != NULL and table.count <= table.mask)
    record.hash = PyObject_Hash(name)       # of a str: does not fail
    own(<PyObject*>name)    # the record's name, until table_remove
    record.name_owned = <PyObject*>name
    place(table, record)
    table.count += 1


cdef void table_remove(Table* table, Record* record) noexcept:
    """Take a record out and release its name; the caller frees the record.

    The records behind it move back, so no tombstone is left and look-ups do
    not slow down with churn.
    """
    cdef size_t hole = home(table, record.hash)
    cdef size_t at
    cdef size_t from_home
    while table.slots[hole].record != record:
        check(table.slots[hole].record != NULL)
        hole = (hole + 1) & table.mask
    at = hole
    while True:
        at = (at + 1) & table.mask
        if table.slots[at].record == NULL:
            break
        # It may fill the hole when its home is not between hole and itself.
        from_home = (at - home(table, table.slots[at].hash)) & table.mask
        if from_home >= ((at - hole) & table.mask):
            table.slots[hole] = table.slots[at]
            hole = at
    table.slots[hole].record = NULL
    table.count -= 1
    if table.count == 0:
        release(table.slots)
        table_init(table)
    elif table.mask + 1 > SMALLEST and table.count * 8 < table.mask + 1:
        rebuild(table, (table.mask + 1) // 2)   # or stay larger than needed
    disown(record.name_owned)   # a str: runs no Python
    record.name_owned = NULL


cdef void table_free(Table* table) noexcept:
    """Free the slots that were reserved for an empty table."""
    check(table.count == 0)
    release(table.slots)
    table_init(table)
