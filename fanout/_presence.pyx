"""Who is on which channel, each entry with its own expiry."""

cimport cython
from cpython.object cimport PyObject

from fanout._expiry cimport Deadline, DeadlineSink, Expiry, deadline_init
from fanout._memory cimport allocate, disown, own, release
from fanout._table cimport (
    Cursor, Record, Table, table_find, table_free, table_init, table_insert, table_next,
    table_remove, table_reserve,
)

from fanout.types import ClientInfo, PresenceStats


@cython.no_gc_clear     # __dealloc__ needs the expiry
cdef class PresenceStore(DeadlineSink):
    def __cinit__(self, Expiry expiry not None, double lifetime):
        if not lifetime > 0:
            raise ValueError(f"lifetime must be above 0 seconds, not {lifetime!r}")
        table_init(&self.rooms)
        self.expiry = expiry
        self.lifetime = lifetime
        self.entries = 0

    def __dealloc__(self):
        if self.expiry is not None:
            self.clear()
        table_free(&self.rooms)

    def add(self, str channel not None, str conn_id not None, info):
        if type(info) is not ClientInfo:
            raise TypeError(f"info must be a ClientInfo, not {type(info).__name__}")
        cdef double end = self.expiry.now() + self.lifetime
        cdef Room* room = self.room_for(channel)
        cdef Presence* entry = <Presence*>table_find(&room.entries, conn_id)
        cdef PyObject* old_info
        if entry != NULL:
            own(<PyObject*>info)    # the entry's, until it is replaced or removed
            old_info = entry.info_owned
            entry.info_owned = <PyObject*>info
            self.expiry.set(&entry.deadline, end)
            self.expiry.arm()
            disown(old_info)        # last: it may run Python
            return
        try:
            table_reserve(&room.entries)
            self.expiry.reserve()
            entry = <Presence*>allocate(sizeof(Presence))
        except:
            # Raising may have run the collector, and that removed the room.
            room = <Room*>table_find(&self.rooms, channel)
            if room != NULL:
                self.free_if_empty(room)
            raise
        entry.room = room
        deadline_init(&entry.deadline, self, entry)
        table_insert(&room.entries, &entry.record, conn_id)
        self.expiry.set(&entry.deadline, end)
        own(<PyObject*>info)        # the entry's, until it is replaced or removed
        entry.info_owned = <PyObject*>info
        self.entries += 1
        self.expiry.arm()

    def remove(self, str channel not None, str conn_id not None):
        cdef Room* room = <Room*>table_find(&self.rooms, channel)
        cdef Presence* entry
        if room == NULL:
            return
        entry = <Presence*>table_find(&room.entries, conn_id)
        if entry != NULL:
            self.remove_entry(entry)

    def get(self, str channel not None):
        cdef double now = self.expiry.now()
        cdef dict found = {}        # before the look-up: it may start the collector
        cdef Room* room = <Room*>table_find(&self.rooms, channel)
        cdef Cursor cursor
        cdef Presence* entry
        if room == NULL:
            return found
        cursor.slot = 0
        while True:
            entry = <Presence*>table_next(&room.entries, &cursor)
            if entry == NULL:
                return found
            if entry.deadline.at > now:
                found[<object>entry.record.name_owned] = <object>entry.info_owned

    def stats(self, str channel not None):
        cdef dict present = self.get(channel)
        return PresenceStats(len(present), len({info.user for info in present.values()}))

    def clear(self):
        # Removing runs Python, which may change anything: each step looks anew,
        # from where the one before was. A slot may get the record behind it.
        cdef Cursor rooms, entries
        cdef Room* room
        cdef Presence* entry
        rooms.slot = entries.slot = 0
        while self.rooms.count > 0:
            room = <Room*>table_next(&self.rooms, &rooms)
            if room == NULL:
                rooms.slot = 0
                continue
            rooms.slot -= 1
            entry = <Presence*>table_next(&room.entries, &entries)
            if entry == NULL:
                entries.slot = 0
                self.free_if_empty(room)
                continue
            entries.slot -= 1
            self.remove_entry(entry)

    @property
    def num_channels(self):
        return self.rooms.count

    @property
    def num_entries(self):
        return self.entries

    cdef Room* room_for(self, str channel) except NULL:
        cdef Room* room = <Room*>table_find(&self.rooms, channel)
        if room != NULL:
            return room
        table_reserve(&self.rooms)
        room = <Room*>allocate(sizeof(Room))
        table_init(&room.entries)
        table_insert(&self.rooms, &room.record, channel)
        return room

    cdef void free_if_empty(self, Room* room) noexcept:
        if room.entries.count == 0:
            table_free(&room.entries)
            table_remove(&self.rooms, &room.record)
            release(room)

    cdef int remove_entry(self, Presence* entry) except -1:
        cdef PyObject* info = entry.info_owned
        cdef Room* room = entry.room
        self.expiry.drop(&entry.deadline)
        table_remove(&room.entries, &entry.record)
        release(entry)
        self.entries -= 1
        self.free_if_empty(room)
        disown(info)                # last: it may run Python
        return 0

    cdef int expired(self, Deadline* deadline) except -1:
        return self.remove_entry(<Presence*>deadline.record)
