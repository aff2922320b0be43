"""Publishes into one channel that go into the same buffers.

A walk in which each subscriber took its buffer, and no more, opens a run. As
long as nothing else is queued to any of them and nobody comes or goes, the
next publish reaches the same subscribers by growing the buffers: no walk.
"""

from libc.stdint cimport uint64_t

from fanout._buffer cimport Buffer
from fanout._delivery cimport SLOTS, Delivery


cdef struct Run:
    uint64_t serial                     # of the channel; 0: sealed
    Py_ssize_t reached                  # by each publish
    int slots
    Buffer* buffers[SLOTS]              # owned, or NULL


cdef void run_open(Run* run, const Delivery* delivery, Py_ssize_t reached) noexcept
cdef Py_ssize_t run_extend(Run* run, list frames) except -1
cdef void run_drop(Run* run) noexcept
