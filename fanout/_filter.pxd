"""Filters of publications by their tags, evaluated without running Python."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t


cdef class TagsFilter:
    cdef readonly str op
    cdef readonly str key
    cdef readonly str cmp
    cdef readonly str val
    cdef readonly tuple vals
    cdef readonly tuple nodes
    cdef int what               # of a node to do
    cdef frozenset members      # the vals, to look one up
    cdef Py_hash_t hash
    cdef int depth              # of the tree below, this node included
    cdef Py_ssize_t nodes_count
    cdef Py_ssize_t vals_count
    # Of the one among its equals that the hub uses:
    cdef Py_ssize_t uses
    cdef uint64_t asked         # the question that was answered last
    cdef bint answer

    cdef bint same(self, TagsFilter other) except -1


cdef TagsFilter filter_use(TagsFilter filter)
cdef void filter_leave(PyObject* filter) noexcept
cdef bint filter_matches(TagsFilter filter, dict tags) noexcept
cdef bint filter_answer(PyObject* filter, PyObject* tags, uint64_t question) noexcept
