"""What some subscribers of a channel want in another way: deltas and filters."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from fanout._filter cimport filter_leave
from fanout._memory cimport check, disown, own, release, try_allocate, try_resize


cdef uint64_t questions = 0


cdef uint64_t next_question() noexcept:
    """A number for one message, that filters remember their answer with."""
    global questions
    questions += 1
    return questions


cdef Extras* extras_new() noexcept:
    """NULL when there is no memory."""
    cdef Extras* extras = <Extras*>try_allocate(sizeof(Extras))
    if extras != NULL:
        memset(extras, 0, sizeof(Extras))
    return extras


cdef bint extras_reserve(Extras* extras, uint32_t count, uint32_t capacity) noexcept:
    """Room for the filters of ``capacity`` subscribers, ``count`` of which there are.

    False when there is no memory for it.
    """
    cdef bint first = extras.filters == NULL
    cdef PyObject** filters = <PyObject**>try_resize(
        extras.filters, capacity * sizeof(PyObject*))
    if filters == NULL:
        return False
    if first:
        memset(filters, 0, count * sizeof(PyObject*))
    extras.filters = filters
    return True


cdef bint same(PyObject* one, bytes other) noexcept:
    cdef bytes data = <bytes>one
    return data is other or (
        PyBytes_GET_SIZE(data) == PyBytes_GET_SIZE(other)
        and memcmp(
            PyBytes_AS_STRING(data), PyBytes_AS_STRING(other), PyBytes_GET_SIZE(data)) == 0)


cdef uint8_t extras_form(Extras* extras, uint8_t form, uint8_t encoding, bytes base) noexcept:
    """The form of a subscriber, so far ``form``, that takes deltas from now on.

    ``base`` is what it has already, or None.
    """
    if form == FORM_PLAIN:
        extras.deltas += 1
    if base is not None and extras.base_owned == NULL:
        own(<PyObject*>base)        # the extras', until the next publish
        extras.base_owned = <PyObject*>base
    if base is not None and same(extras.base_owned, base):
        extras.patch |= 1u << encoding
        return FORM_PATCH
    extras.full |= 1u << encoding
    return FORM_FULL


cdef void extras_without_deltas(Extras* extras, uint8_t form) noexcept:
    """A subscriber that had this form takes no deltas any more."""
    cdef PyObject* base = extras.base_owned
    if form == FORM_PLAIN:
        return
    check(extras.deltas > 0)
    extras.deltas -= 1
    if extras.deltas == 0:
        extras.full = extras.patch = 0
        extras.base_owned = NULL
        if base != NULL:
            disown(base)            # bytes: runs no Python


cdef void extras_set_base(Extras* extras, bytes base) noexcept:
    """What the next publication may be a delta of, as somebody takes deltas."""
    cdef PyObject* old = extras.base_owned
    check(extras.deltas > 0)
    own(<PyObject*>base)            # the extras', until the next publish
    extras.base_owned = <PyObject*>base
    if old != NULL:
        disown(old)                 # bytes: runs no Python


cdef void extras_set_filter(Extras* extras, uint32_t place, PyObject* filter) noexcept:
    """Give the subscriber at ``place`` a filter that is in use for it already, or NULL: none."""
    cdef PyObject* old = extras.filters[place]
    if filter != NULL:
        own(filter)                 # the array's
        extras.filtered += 1
    extras.filters[place] = filter
    if old != NULL:
        extras.filtered -= 1
        filter_leave(old)
        disown(old)                 # strings and tuples: runs no Python


cdef void extras_move(Extras* extras, uint32_t place, uint32_t last) noexcept:
    """The subscriber at ``place`` has left, and the last one takes its place."""
    if extras.filters == NULL:
        return
    extras_set_filter(extras, place, NULL)
    extras.filters[place] = extras.filters[last]
    extras.filters[last] = NULL
    if extras.filtered == 0:
        release(extras.filters)
        extras.filters = NULL


cdef void extras_shrink(Extras* extras, uint32_t capacity) noexcept:
    cdef PyObject** filters
    if extras.filters != NULL:
        filters = <PyObject**>try_resize(extras.filters, capacity * sizeof(PyObject*))
        if filters != NULL:         # else it stays larger than needed
            extras.filters = filters


cdef void extras_free(Extras* extras) noexcept:
    """Nobody wants any of it any more."""
    check(extras.deltas == 0 and extras.filtered == 0 and extras.base_owned == NULL)
    release(extras.filters)
    release(extras)
