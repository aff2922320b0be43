"""The channels of one subscriber: a dense array, and an index when it is long.

Most connections have a handful of channels, for which walking the array is
both the smallest and the fastest; an index is added for the few with many, so
that subscribe and unsubscribe stay O(1) for all.
"""

from libc.stdint cimport uint32_t, uintptr_t
from libc.string cimport memset

from fanout._memory cimport allocate, check, release, resize


cdef enum:
    INDEXED_FROM = 17       # items; up to 16 fit in four cache lines


cdef inline uint32_t home(const Memberships* self, const void* channel) noexcept:
    # Records are 16-byte aligned; the multiplier spreads what is left.
    cdef uintptr_t bits = <uintptr_t>channel >> 4
    return <uint32_t>((bits * 0x9E3779B97F4A7C15ULL) >> 32) & self.index_mask


cdef uint32_t slot_of(const Memberships* self, const void* channel) noexcept:
    """The index slot of a channel, or the empty slot where it would be."""
    cdef uint32_t slot = home(self, channel)
    while self.index[slot] != 0 and self.items[self.index[slot] - 1].channel != channel:
        slot = (slot + 1) & self.index_mask
    return slot


cdef uint32_t memberships_find(const Memberships* self, const void* channel) noexcept:
    """The item of a channel, or NOT_A_MEMBER."""
    cdef uint32_t item
    if self.index != NULL:
        item = self.index[slot_of(self, channel)]
        return item - 1 if item != 0 else NOT_A_MEMBER
    for item in range(self.count):
        if self.items[item].channel == channel:
            return item
    return NOT_A_MEMBER


cdef int memberships_reserve(Memberships* self) except -1:
    """Make room for one more item, so that adding it cannot fail."""
    cdef uint32_t capacity, slots, item
    cdef uint32_t* index
    if self.count == self.capacity:
        capacity = self.capacity * 2 if self.capacity else 1
        self.items = <Membership*>resize(self.items, capacity * sizeof(Membership))
        self.capacity = capacity
    if self.count + 1 >= INDEXED_FROM and (
        self.index == NULL or (self.count + 1) * 2 > self.index_mask + 1
    ):
        slots = (self.index_mask + 1) * 2 if self.index != NULL else 4 * 16
        index = <uint32_t*>allocate(slots * sizeof(uint32_t))
        memset(index, 0, slots * sizeof(uint32_t))
        release(self.index)
        self.index = index
        self.index_mask = slots - 1
        for item in range(self.count):
            self.index[slot_of(self, self.items[item].channel)] = item + 1
    return 0


cdef uint32_t memberships_add(Memberships* self, void* channel, uint32_t place) noexcept:
    """Add a channel that is not there; the caller has reserved room."""
    cdef uint32_t item = self.count
    check(item < self.capacity)
    self.items[item].channel = channel
    self.items[item].place = place
    self.count += 1
    if self.index != NULL:
        self.index[slot_of(self, channel)] = item + 1
    return item


cdef void unindex(Memberships* self, const void* channel) noexcept:
    """Empty a channel's slot and move back what probing put behind it."""
    cdef uint32_t hole = slot_of(self, channel)
    cdef uint32_t slot = hole
    cdef uint32_t from_home
    while True:
        slot = (slot + 1) & self.index_mask
        if self.index[slot] == 0:
            break
        from_home = (slot - home(self, self.items[self.index[slot] - 1].channel)) & self.index_mask
        if from_home >= ((slot - hole) & self.index_mask):
            self.index[hole] = self.index[slot]
            hole = slot
    self.index[hole] = 0


cdef void memberships_remove(Memberships* self, uint32_t item) noexcept:
    """Remove an item; the last one takes its number."""
    cdef uint32_t last = self.count - 1
    check(item <= last)
    if self.index != NULL:
        unindex(self, self.items[item].channel)
        if item != last:
            self.index[slot_of(self, self.items[last].channel)] = item + 1
    self.items[item] = self.items[last]
    self.count = last
    if last == 0:
        memberships_free(self)


cdef void memberships_free(Memberships* self) noexcept:
    release(self.items)
    release(self.index)
    memberships_init(self)
