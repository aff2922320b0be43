"""One message on its way to a channel: its frames, and the buffers made of them."""

from libc.stdint cimport uint32_t

from fanout._buffer cimport buffer_from, buffer_give_back
from fanout._extras cimport FORM_FULL, FORM_PATCH, FORM_PLAIN
from fanout._fossil cimport Base
from fanout._memory cimport check
from fanout._message cimport Message


cdef list frames_with_deltas(
    list encoders, str channel, Message message, uint32_t plain, uint32_t full, uint32_t patch,
    Base base, uint32_t* unsaid
):
    """The frames of a message by slot, for the encodings in these masks.

    ``unsaid`` gets those of them in which it cannot be said.
    """
    cdef list frames = [None] * SLOTS
    cdef int encoding
    unsaid[0] = 0
    for encoding in range(len(encoders)):
        encoder = encoders[encoding]
        whole = None
        said = True
        if plain >> encoding & 1:
            frames[slot_of(FORM_PLAIN, encoding)] = frame = encoder.publication(
                channel, message)
            said = frame is not None
        if full >> encoding & 1 or (patch >> encoding & 1 and base is None):
            whole = encoder.publication_delta(channel, message, None)
            said = said and whole is not None
        if full >> encoding & 1:
            frames[slot_of(FORM_FULL, encoding)] = whole
        if patch >> encoding & 1:
            if base is not None:
                whole = encoder.publication_delta(channel, message, base)
                said = said and whole is not None
            frames[slot_of(FORM_PATCH, encoding)] = whole
        if not said:
            unsaid[0] |= 1u << encoding
    return frames


cdef Py_ssize_t delivery_fill(Delivery* delivery, list frames) except -1:
    """Make the frames' buffers; returns their bytes."""
    cdef Py_ssize_t size = 0
    cdef int slot
    check(len(frames) <= delivery.slots)
    for slot in range(len(frames)):
        if frames[slot] is not None:
            delivery.buffers[slot] = buffer_from(checked_frame(frames[slot]))
            size += len(<bytes>frames[slot])
    return size


cdef void delivery_free(Delivery* delivery) noexcept:
    """Give the buffers back; those who took them keep them."""
    cdef int slot
    for slot in range(delivery.slots):
        if delivery.buffers[slot] != NULL:
            buffer_give_back(delivery.buffers[slot])
    delivery.slots = 0
