"""What some subscribers of a channel want in another way: deltas and filters.

A channel has these only while somebody wants them, so that others cost
nothing. Nothing here runs Python.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum Form:                 # in which a subscriber gets the next publication
    FORM_PLAIN = 0
    FORM_FULL = 1               # it takes deltas, but has not what they start from
    FORM_PATCH = 2              # it has the base
    FORMS = 3

cdef struct Extras:
    uint32_t deltas             # subscribers whose form is not the plain one
    uint32_t full               # bit masks of encodings: of subscribers with each form,
    uint32_t patch              # and maybe of some that have left since the last walk
    uint32_t filtered           # subscribers with a filter
    PyObject* base_owned        # bytes: what all with FORM_PATCH have; or NULL
    PyObject** filters          # by place in the channel: a TagsFilter, owned, or NULL


cdef Extras* extras_new() noexcept
cdef bint extras_reserve(Extras* extras, uint32_t count, uint32_t capacity) noexcept
cdef uint8_t extras_form(Extras* extras, uint8_t form, uint8_t encoding, bytes base) noexcept
cdef void extras_without_deltas(Extras* extras, uint8_t form) noexcept
cdef void extras_set_base(Extras* extras, bytes base) noexcept
cdef void extras_set_filter(Extras* extras, uint32_t place, PyObject* filter) noexcept
cdef void extras_move(Extras* extras, uint32_t place, uint32_t last) noexcept
cdef void extras_shrink(Extras* extras, uint32_t capacity) noexcept
cdef void extras_free(Extras* extras) noexcept
cdef uint64_t next_question() noexcept


cdef inline bint extras_wanted(const Extras* extras) noexcept:
    return extras.deltas > 0 or extras.filtered > 0


cdef inline PyObject* extras_filter(const Extras* extras, uint32_t place) noexcept:
    """The filter of the subscriber at ``place``, borrowed, or NULL."""
    return extras.filters[place] if extras.filters != NULL else NULL
