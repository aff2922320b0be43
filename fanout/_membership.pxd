"""The channels of one subscriber: a dense array, and an index when it is long."""

from libc.stdint cimport uint32_t


cdef struct Membership:
    void* channel           # the hub's Channel
    uint32_t place          # of the subscriber in the channel's array

cdef struct Memberships:
    Membership* items
    uint32_t count
    uint32_t capacity
    uint32_t* index         # open addressing: item number + 1, 0 empty; NULL while few
    uint32_t index_mask

cdef enum:
    NOT_A_MEMBER = 0xFFFFFFFF


cdef inline void memberships_init(Memberships* self) noexcept:
    self.items = NULL
    self.index = NULL
    self.count = self.capacity = self.index_mask = 0


cdef uint32_t memberships_find(const Memberships* self, const void* channel) noexcept
cdef int memberships_reserve(Memberships* self) except -1
cdef uint32_t memberships_add(Memberships* self, void* channel, uint32_t place) noexcept
cdef void memberships_remove(Memberships* self, uint32_t item) noexcept
cdef void memberships_free(Memberships* self) noexcept
