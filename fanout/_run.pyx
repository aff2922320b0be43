"""Publishes into one channel that go into the same buffers."""

from fanout._buffer cimport buffer_extend, buffer_give_back, buffer_reserve, buffer_take
from fanout._delivery cimport Delivery, checked_frame
from fanout._memory cimport check


cdef void run_open(Run* run, const Delivery* delivery, Py_ssize_t reached) noexcept:
    """Let publishes that follow at once go into the buffers of this one."""
    cdef int slot
    run_drop(run)
    for slot in range(delivery.slots):
        run.buffers[slot] = NULL
        if delivery.buffers[slot] != NULL:
            run.buffers[slot] = buffer_take(delivery.buffers[slot])
    run.slots = delivery.slots
    run.serial = delivery.serial
    run.reached = reached


cdef Py_ssize_t run_extend(Run* run, list frames) except -1:
    """Queue one more message to all that the first one reached; returns its bytes.

    On MemoryError nobody has got any of it.
    """
    cdef Py_ssize_t size = 0
    cdef int slot
    for slot in range(len(frames)):
        if frames[slot] is not None:
            check(slot < run.slots and run.buffers[slot] != NULL)
            buffer_reserve(run.buffers[slot], checked_frame(frames[slot]))
    for slot in range(len(frames)):
        if frames[slot] is not None:
            buffer_extend(run.buffers[slot], <bytes>frames[slot])
            size += len(<bytes>frames[slot])
    return size


cdef void run_drop(Run* run) noexcept:
    """Give the buffers back, which grow no more."""
    cdef int slot
    for slot in range(run.slots):
        if run.buffers[slot] != NULL:
            buffer_give_back(run.buffers[slot])
    run.slots = 0
    run.serial = 0
