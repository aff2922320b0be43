"""One message on its way to a channel: its frames, and the buffers made of them.

The frames are made before the subscribers are walked, since an encoder is
Python and may do anything, and once for all that want the same.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from fanout._buffer cimport Buffer
from fanout._channel cimport Channel
from fanout._extras cimport FORM_FULL, FORM_PATCH, FORMS
from fanout._fossil cimport Base
from fanout._message cimport Message


cdef enum:
    MAX_ENCODINGS = 32
    SLOTS = FORMS * MAX_ENCODINGS

cdef struct Delivery:
    PyObject* message                   # for queues; NULL: only for outboxes
    uint64_t serial                     # of the channel
    uint8_t slow
    uint8_t flags                       # only to entries that have these
    uint8_t forms                       # bits of an entry's form that count; 0: all get it plain
    int slots                           # how many of the buffers are in use
    Buffer* buffers[SLOTS]              # owned, or NULL; by form and encoding, see slot_of


cdef inline int slot_of(int form, int encoding) noexcept:
    return form * MAX_ENCODINGS + encoding


cdef inline bytes checked_frame(frame):
    if type(frame) is not bytes:
        raise TypeError(f"an encoder must return bytes or None, not {frame!r}")
    return frame


cdef list frames_with_deltas(
    list encoders, str channel, Message message, uint32_t plain, uint32_t full, uint32_t patch,
    Base base, uint32_t* unsaid)


cdef inline void delivery_address(
    Delivery* delivery, const Channel* channel, Message message
) noexcept:
    """Begin a delivery into a channel, of a message or, with None, of something else."""
    delivery.message = NULL if message is None else <PyObject*>message
    delivery.serial = channel.serial
    delivery.slow = channel.slow
    delivery.flags = 0
    delivery.forms = 0
    if channel.extras != NULL and message is not None:
        delivery.forms = FORM_FULL | FORM_PATCH


cdef inline void delivery_clear(Delivery* delivery, int slots) noexcept:
    """There are no buffers yet; ``slots`` is how many there may be."""
    delivery.slots = slots
    memset(delivery.buffers, 0, slots * sizeof(Buffer*))


cdef Py_ssize_t delivery_fill(Delivery* delivery, list frames) except -1
cdef void delivery_free(Delivery* delivery) noexcept
