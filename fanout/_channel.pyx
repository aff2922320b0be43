"""The subscribers of one channel: a dense array of small entries."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fanout._extras cimport (
    FORM_PLAIN, extras_form, extras_free, extras_move, extras_new, extras_reserve,
    extras_set_filter, extras_shrink, extras_wanted, extras_without_deltas,
)
from fanout._memory cimport allocate, check, release, try_allocate, try_resize


cdef enum:
    KEPT_CAPACITY = 16      # entries; a smaller array is not shrunk


cdef Channel* channel_new(uint64_t serial) except NULL:
    """A channel with room for one subscriber, in no table yet."""
    cdef Channel* channel = <Channel*>allocate(sizeof(Channel))
    memset(channel, 0, sizeof(Channel))
    channel.serial = serial
    channel.entries = <Entry*>try_allocate(sizeof(Entry))
    if channel.entries == NULL:
        release(channel)
        raise MemoryError()
    channel.capacity = 1
    return channel


cdef bint channel_reserve(Channel* channel) noexcept:
    """Make room for one more subscriber; False when there is no memory."""
    cdef uint32_t capacity
    cdef Entry* entries
    if channel.count < channel.capacity:
        return True
    capacity = channel.capacity + (channel.capacity >> 1) + 1
    if (
        channel.extras != NULL
        and channel.extras.filters != NULL
        and not extras_reserve(channel.extras, channel.count, capacity)
    ):
        return False
    entries = <Entry*>try_resize(channel.entries, capacity * sizeof(Entry))
    if entries == NULL:
        return False
    channel.entries = entries
    channel.capacity = capacity
    return True


cdef bint channel_reserve_extras(Channel* channel, bint filtered) noexcept:
    """Make room for what the next subscriber wants; False when there is no memory."""
    if channel.extras == NULL:
        channel.extras = extras_new()
    return channel.extras != NULL and (
        not filtered
        or channel.extras.filters != NULL
        or extras_reserve(channel.extras, channel.count, channel.capacity))


cdef void drop_unwanted_extras(Channel* channel) noexcept:
    if not extras_wanted(channel.extras):
        extras_free(channel.extras)
        channel.extras = NULL


cdef void channel_dress(
    Channel* channel, uint32_t place, bint delta, bytes base, PyObject* filter
) noexcept:
    """Give a subscriber the form and the filter that it wants from now on.

    There is room for them, and the filter is in use for it.
    """
    cdef Entry* entry = &channel.entries[place]
    if delta:
        entry.form = extras_form(channel.extras, entry.form, entry.encoding, base)
    else:
        if channel.extras != NULL:
            extras_without_deltas(channel.extras, entry.form)
        entry.form = FORM_PLAIN
        if entry.kind == KIND_OUTBOX:
            channel.encodings |= 1u << entry.encoding
    if channel.extras != NULL:
        if channel.extras.filters != NULL:
            extras_set_filter(channel.extras, place, filter)
        drop_unwanted_extras(channel)


cdef void shrink(Channel* channel) noexcept:
    cdef uint32_t capacity = channel.count * 2
    cdef Entry* entries = <Entry*>try_resize(channel.entries, capacity * sizeof(Entry))
    if entries != NULL:         # else it stays larger than needed
        channel.entries = entries
        channel.capacity = capacity
        if channel.extras != NULL:
            extras_shrink(channel.extras, capacity)


cdef void channel_remove(Channel* channel, uint32_t place) noexcept:
    """Remove a subscriber; the last one takes its place."""
    cdef uint32_t last = channel.count - 1
    check(place <= last)
    if channel.extras != NULL:
        extras_without_deltas(channel.extras, channel.entries[place].form)
        extras_move(channel.extras, place, last)
        drop_unwanted_extras(channel)
    channel.entries[place] = channel.entries[last]
    channel.count = last
    if last * 4 < channel.capacity and channel.capacity > KEPT_CAPACITY and last > 0:
        shrink(channel)


cdef void channel_free(Channel* channel) noexcept:
    """A channel that nobody is in, and that is in no table."""
    if channel.extras != NULL:
        extras_free(channel.extras)
    release(channel.entries)
    release(channel)
