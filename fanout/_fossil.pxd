"""Differences between two byte strings, in the format of Fossil's deltas."""


cdef object patch_or_none(bytes base, bytes target)
