"""Differences between two byte strings, in the format of Fossil's deltas."""


cdef class Base:
    cdef readonly bytes data
    cdef bytes target               # of the patch that was made last, or None
    cdef readonly bytes patch       # None: it would not be smaller than the target

    cdef bytes patch_to(self, bytes new)
