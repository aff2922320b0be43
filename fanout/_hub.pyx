"""Channel -> subscribers, and the flush at the end of a loop's tick.

A channel's subscribers are one dense array of small entries; walking it runs
no Python and frees nothing, so the array cannot move while it is walked.
What must run Python (encoders before the walk, wake-ups, call-backs and
system calls at the end of the tick) runs outside of it.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from fanout._buffer cimport (
    Buffer, buffer_extend, buffer_from, buffer_give_back, buffer_reserve, buffer_take,
)
from fanout._extras cimport (
    FORM_FULL, FORM_PATCH, FORM_PLAIN, extras_filter, extras_form, extras_free, extras_move,
    extras_new, extras_reserve, extras_set_base, extras_set_filter, extras_shrink, extras_wanted,
    extras_without_deltas, next_question,
)
from fanout._filter cimport (
    TagsFilter, filter_answer, filter_leave, filter_matches, filter_use,
)
from fanout._fossil cimport Base
from fanout._membership cimport (
    NOT_A_MEMBER, memberships_add, memberships_find, memberships_free, memberships_init,
    memberships_remove, memberships_reserve,
)
from fanout._memory cimport (
    allocate, check, disown, own, release, resize, try_allocate, try_resize,
)
from fanout._message cimport Message, message_delta
from fanout._table cimport (
    Cursor, Record, table_find, table_free, table_init, table_insert, table_next, table_remove,
    table_reserve,
)

from fanout.types import HubStats


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef enum:
    # Outboxes are settled within a tick when so many bytes were broadcast:
    # what a connection can take is then in its socket, and its queue holds
    # only what it really cannot.
    UNSENT_LIMIT = 65536

cdef receive_function receivers[KINDS]
cdef settle_function settlers[KINDS]


cdef void register_kind(Kind kind, receive_function receive, settle_function settle) noexcept:
    receivers[<int>kind] = receive
    settlers[<int>kind] = settle


cdef void free_channel(Channel* channel) noexcept:
    """A channel that nobody is in, and that is in no table."""
    if channel.extras != NULL:
        extras_free(channel.extras)
    release(channel.entries)
    release(channel)


cdef bint room_for_extras(Channel* channel, bint filtered) noexcept:
    """Make room for what the next subscriber wants; False when there is no memory."""
    if channel.extras == NULL:
        channel.extras = extras_new()
    return channel.extras != NULL and (
        not filtered
        or channel.extras.filters != NULL
        or extras_reserve(channel.extras, channel.count, channel.capacity))


cdef bint room_for_entry(Channel* channel) noexcept:
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


cdef void drop_unwanted_extras(Channel* channel) noexcept:
    if channel.extras != NULL and not extras_wanted(channel.extras):
        extras_free(channel.extras)
        channel.extras = NULL


cdef void address(Delivery* delivery, const Channel* channel, Message message) noexcept:
    """Begin a delivery into a channel, of a message or, with None, of something else."""
    delivery.message = NULL if message is None else <PyObject*>message
    delivery.serial = channel.serial
    delivery.slow = channel.slow
    delivery.flags = 0
    delivery.forms = 0
    delivery.slots = 0
    if channel.extras != NULL and message is not None:
        delivery.forms = FORM_FULL | FORM_PATCH


cdef bytes checked_frame(frame):
    if type(frame) is not bytes:
        raise TypeError(f"an encoder must return bytes or None, not {frame!r}")
    return frame


@cython.no_gc_clear     # __dealloc__ needs the hub
cdef class Subscriber:
    def __cinit__(self, *args, **kwargs):
        memberships_init(&self.memberships)

    def __dealloc__(self):
        check(not self.marked)      # the backlog owns a reference
        self.leave_all()
        memberships_free(&self.memberships)

    cdef void leave_all(self) noexcept:
        """For ``__dealloc__``, before anything else is freed: that may run Python."""
        if self.hub is not None and self.memberships.count > 0:
            try:
                self.hub.abandon(self)
            except Exception as error:
                self.hub.report("leaving the channels of a freed subscriber failed", error)

    @property
    def num_channels(self):
        return self.memberships.count


cdef Channel* new_channel(uint64_t serial) except NULL:
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


@cython.final
@cython.no_gc_clear     # subscribers that die with it leave it first
cdef class Hub:
    def __cinit__(self, loop, on_vacated=None):
        table_init(&self.table)
        self.loop = loop
        self.on_vacated = on_vacated
        self.encoders = []
        self.vacated = []
        self.thread = PyThread_get_thread_ident()
        self.next_serial = 1

    def __del__(self):
        # When the collector found the hub, it calls this before it clears
        # anything; on_vacated may be among the next that it clears, and a
        # function without its globals crashes when it is called.
        self.on_vacated = None

    def __dealloc__(self):
        # Every subscriber owns a reference to the hub until it has left.
        check(self.table.count == 0 and self.trash_count == 0)
        table_free(&self.table)
        cdef int kind
        for kind in range(<int>KINDS):
            check(self.backlogs[kind].count == 0)
            release(self.backlogs[kind].items)
        self.drop_run()
        release(self.trash)
        release(self.arena)

    def add_encoder(self, encoder):
        if len(self.encoders) == MAX_ENCODINGS:
            raise ValueError(f"a hub takes at most {MAX_ENCODINGS} encodings")
        self.encoders.append(encoder)
        return len(self.encoders) - 1

    def subscribe(self, Subscriber subscriber not None, str channel not None, int flags=0,
                  int slow=0, *, bint delta=False, Message base=None, TagsFilter tags_filter=None):
        self.check_subscriber(subscriber)
        if not 0 <= slow <= <int>SLOW_KEEP_LATEST:
            raise ValueError(f"slow must be 0, 1 or 2, not {slow!r}")
        if subscriber.kind != KIND_OUTBOX or slow != SLOW_DISCONNECT:
            # A queue takes whole messages; and a message that is dropped
            # would be missing from what the next delta starts from.
            delta = False
        cdef TagsFilter filter = None if tags_filter is None else filter_use(tags_filter)
        try:
            return bool(self.enter(subscriber, channel, flags, slow, delta, base, filter))
        except:
            if filter is not None:
                filter_leave(<PyObject*>filter)
            raise

    def unsubscribe(self, Subscriber subscriber not None, str channel not None):
        self.check_subscriber(subscriber)
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        cdef uint32_t item
        if record == NULL:
            return False
        item = memberships_find(&subscriber.memberships, record)
        if item == NOT_A_MEMBER:
            return False
        return bool(self.leave(subscriber, item))

    def remove(self, Subscriber subscriber not None):
        self.check_subscriber(subscriber)
        cdef list emptied = []
        cdef Channel* record
        cdef uint32_t item
        while subscriber.memberships.count > 0:
            item = subscriber.memberships.count - 1
            record = <Channel*>subscriber.memberships.items[item].channel
            if record.count == 1:
                emptied.append(<object>record.record.name_owned)
            self.leave(subscriber, item)
        return emptied

    def is_subscribed(self, Subscriber subscriber not None, str channel not None):
        self.check_subscriber(subscriber)
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        return record != NULL and (
            memberships_find(&subscriber.memberships, record) != NOT_A_MEMBER)

    def subscriptions(self, Subscriber subscriber not None):
        self.check_subscriber(subscriber)
        cdef uint32_t item
        cdef list names = []
        for item in range(subscriber.memberships.count):
            names.append(<object>(
                <Record*>subscriber.memberships.items[item].channel).name_owned)
        return names

    def num_subscribers(self, str channel not None):
        self.check_thread()
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        return record.count if record != NULL else 0

    def subscribers(self, str channel not None, int flags=0):
        self.check_thread()
        cdef list found = []        # before the look-up: it may start the collector
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        cdef uint32_t at
        if record == NULL:
            return found
        for at in range(record.count):
            # One whose last reference is gone is still here until it has left.
            if (
                record.entries[at].flags & flags == flags
                and Py_REFCNT(record.entries[at].subscriber_borrowed) > 0
            ):
                found.append(<object>record.entries[at].subscriber_borrowed)
        return found

    def channels(self):
        self.check_thread()
        cdef Cursor cursor
        cdef Record* record
        cdef list names = []
        cursor.slot = 0
        while True:
            record = table_next(&self.table, &cursor)
            if record == NULL:
                return names
            names.append(<object>record.name_owned)

    def broadcast(self, str channel not None, Message message not None):
        self.check_thread()
        cdef Delivery delivery
        cdef Channel* record
        cdef Py_ssize_t reached
        cdef uint32_t encodings
        cdef list frames = None
        cdef list unsaid = None         # encodings in which it cannot be said
        cdef int encoding
        self.published += 1
        self.turn_size += 1
        if self.unsent > UNSENT_LIMIT:
            self.settle(KIND_OUTBOX)
        record = <Channel*>table_find(&self.table, channel)
        if record == NULL:
            return 0
        if record.extras != NULL and record.extras.deltas > 0:
            return self.broadcast_deltas(channel, message, record)
        encodings = record.encodings
        if encodings:
            frames = [None] * len(self.encoders)
            for encoding in range(len(self.encoders)):
                if encodings >> encoding & 1:
                    frame = self.encoders[encoding].publication(channel, message)
                    if frame is None:
                        unsaid = [encoding] if unsaid is None else [*unsaid, encoding]
                    frames[encoding] = frame
            # An encoder may have run anything.
            record = <Channel*>table_find(&self.table, channel)
            if record == NULL:
                return 0
            if record.serial == self.run.serial and unsaid is None:
                return self.continue_run(frames)
        address(&delivery, record, message)
        reached = self.deliver(record, &delivery, frames)
        if unsaid is not None:
            self.tell_unencodable(channel, message, unsaid)
        return reached

    def broadcast_join(self, str channel not None, info):
        return self.announce(channel, info, "join")

    def broadcast_leave(self, str channel not None, info):
        return self.announce(channel, info, "leave")

    def flush(self):
        self.check_thread()
        self.settle(KIND_OUTBOX)
        self.settle(KIND_QUEUE)

    def stats(self):
        self.check_thread()
        return HubStats(
            num_channels=self.table.count,
            num_subscriptions=self.subscriptions_count,
            num_published=self.published,
            num_delivered=self.delivered,
            num_dropped=self.dropped,
            num_sends=self.sends,
            bytes_sent=self.bytes_sent,
            num_ticks=self.ticks,
        )

    cdef int check_thread(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise RuntimeError(
                "the hub belongs to its loop's thread; from another one use publish_threadsafe")
        return 0

    cdef int check_subscriber(self, Subscriber subscriber) except -1:
        self.check_thread()
        if subscriber.hub is not self:
            raise ValueError("the subscriber belongs to another hub")
        return 0

    cdef Py_ssize_t announce(self, str channel, info, str method) except -1:
        """Send a join or a leave to the outboxes that want them."""
        self.check_thread()
        cdef Delivery delivery
        cdef int encoding
        cdef uint32_t encodings
        cdef list frames = [None] * len(self.encoders)
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        if record == NULL:
            return 0
        encodings = record.encodings
        if record.extras != NULL:
            encodings |= record.extras.full | record.extras.patch
        if not encodings:
            return 0
        for encoding in range(len(self.encoders)):
            if encodings >> encoding & 1:
                frames[encoding] = getattr(self.encoders[encoding], method)(channel, info)
        record = <Channel*>table_find(&self.table, channel)
        if record == NULL:
            return 0
        address(&delivery, record, None)
        delivery.flags = WANTS_JOIN_LEAVE
        # A join does not replace the latest message, but it disconnects nobody
        # from a channel that would rather lose something.
        delivery.slow = SLOW_DISCONNECT if record.slow == SLOW_DISCONNECT else SLOW_DROP_OLDEST
        return self.deliver(record, &delivery, frames)

    cdef Py_ssize_t deliver(self, Channel* channel, Delivery* delivery, list frames) except -1:
        """Walk the channel's subscribers. Nothing in the walk runs Python."""
        cdef Py_ssize_t reached = 0
        cdef uint32_t at
        cdef int slot
        cdef const Entry* entry
        seal_run(self)
        self.reserve(KIND_OUTBOX, channel.count)
        self.reserve(KIND_QUEUE, channel.count)
        if self.trash_count + channel.count > self.trash_capacity:
            self.trash = <PyObject**>resize(
                self.trash, (self.trash_count + channel.count) * sizeof(PyObject*))
            self.trash_capacity = self.trash_count + channel.count
        delivery.slots = len(self.encoders)
        if channel.extras != NULL or (frames is not None and len(frames) > delivery.slots):
            delivery.slots = SLOTS
        memset(delivery.buffers, 0, delivery.slots * sizeof(Buffer*))
        try:
            if frames is not None:
                self.make_buffers(delivery, frames)
            self.run_may_open = frames is not None
            if delivery.forms != 0:
                self.walk_with_extras(channel, delivery, &reached)
            else:
                for at in range(channel.count):
                    entry = &channel.entries[at]
                    # One whose last reference is gone, and whose weak references
                    # are told so now, is still here; a backlog must not own it.
                    if (
                        entry.flags & delivery.flags == delivery.flags
                        and Py_REFCNT(entry.subscriber_borrowed) > 0
                    ):
                        reached += receivers[entry.kind](self, entry, delivery)
            if self.run_may_open and delivery.flags == 0 and delivery.slow == SLOW_DISCONNECT:
                self.open_run(delivery, reached)
        finally:
            for slot in range(delivery.slots):
                if delivery.buffers[slot] != NULL:
                    buffer_give_back(delivery.buffers[slot])
        self.delivered += reached
        try:
            self.schedule()
        finally:
            self.empty_trash()      # last: it may run Python
        return reached

    cdef void walk_with_extras(
        self, Channel* channel, Delivery* delivery, Py_ssize_t* reached
    ) noexcept:
        """Walk the subscribers of a channel some of which want deltas or filter."""
        cdef Extras* extras = channel.extras
        cdef Message message = <Message>delivery.message
        cdef PyObject* tags = NULL if message.own_tags is None else <PyObject*>message.own_tags
        cdef PyObject* filter
        cdef uint64_t question = next_question()
        cdef uint32_t full = 0, patch = 0
        cdef uint32_t at
        cdef uint8_t form
        cdef Entry* entry
        cdef bint taken
        if extras.filtered > 0:
            self.run_may_open = False
        for at in range(channel.count):
            entry = &channel.entries[at]
            if Py_REFCNT(entry.subscriber_borrowed) <= 0:
                continue                # as in `deliver`
            filter = extras_filter(extras, at)
            taken = (
                (filter == NULL or filter_answer(filter, tags, question))
                and receivers[entry.kind](self, entry, delivery))
            reached[0] += taken
            if entry.form != FORM_PLAIN:
                form = FORM_PATCH if taken else FORM_FULL
                if form != entry.form:
                    entry.form = form
                    self.run_may_open = False
                if taken:
                    patch |= 1u << entry.encoding
                else:
                    full |= 1u << entry.encoding
        if extras.deltas > 0:
            extras.full = full
            extras.patch = patch
            extras_set_base(extras, message.data)

    cdef Py_ssize_t broadcast_deltas(
        self, str channel, Message message, Channel* record
    ) except -1:
        """Broadcast where some subscribers take deltas."""
        cdef Delivery delivery
        cdef Py_ssize_t reached
        cdef uint32_t full = record.extras.full
        cdef uint32_t patch = record.extras.patch
        cdef Base base = None
        cdef list frames
        cdef list unsaid = []           # encodings in which it cannot be said
        if message_delta(message) and record.extras.base_owned != NULL:
            base = Base(<bytes>record.extras.base_owned)
        frames = self.frames_with_deltas(
            channel, message, record.encodings, full, patch, base, unsaid)
        # An encoder may have run anything.
        record = <Channel*>table_find(&self.table, channel)
        if record == NULL:
            return 0
        if record.extras != NULL and (
            record.extras.full & ~full
            or record.extras.patch & ~patch
            or (base is not None and record.extras.base_owned != <PyObject*>base.data)
        ):
            # What is whole is right whatever happens now.
            unsaid = []
            frames = self.frames_with_deltas(
                channel, message, record.encodings, record.extras.full | record.extras.patch,
                record.extras.full | record.extras.patch, None, unsaid)
            record = <Channel*>table_find(&self.table, channel)
            if record == NULL:
                return 0
        if record.serial == self.run.serial and not unsaid:
            reached = self.continue_run(frames)
            extras_set_base(record.extras, message.data)
            return reached
        address(&delivery, record, message)
        reached = self.deliver(record, &delivery, frames)
        if unsaid:
            self.tell_unencodable(channel, message, unsaid)
        return reached

    cdef list frames_with_deltas(
        self, str channel, Message message, uint32_t plain, uint32_t full, uint32_t patch,
        Base base, list unsaid,
    ):
        """The frames of a message by slot, for the encodings in these masks."""
        cdef list frames = [None] * SLOTS
        cdef int encoding
        for encoding in range(len(self.encoders)):
            encoder = self.encoders[encoding]
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
                unsaid.append(encoding)
        return frames

    cdef int make_buffers(self, Delivery* delivery, list frames) except -1:
        cdef int slot
        for slot in range(len(frames)):
            frame = frames[slot]
            if frame is not None:
                delivery.buffers[slot] = buffer_from(checked_frame(frame))
                self.unsent += len(<bytes>frame)
        return 0

    cdef void open_run(self, Delivery* delivery, Py_ssize_t reached) noexcept:
        """Let publishes that follow at once go into the same buffers."""
        cdef int slot
        self.drop_run()
        for slot in range(delivery.slots):
            self.run.buffers[slot] = NULL
            if delivery.buffers[slot] != NULL:
                self.run.buffers[slot] = buffer_take(delivery.buffers[slot])
        self.run.slots = delivery.slots
        self.run.serial = delivery.serial
        self.run.reached = reached

    cdef Py_ssize_t continue_run(self, list frames) except -1:
        """Queue one more message to all that the run's first one reached."""
        cdef int slot
        cdef bytes frame
        for slot in range(len(frames)):
            if frames[slot] is not None:
                check(slot < self.run.slots and self.run.buffers[slot] != NULL)
                buffer_reserve(self.run.buffers[slot], checked_frame(frames[slot]))
        for slot in range(len(frames)):
            if frames[slot] is not None:
                frame = frames[slot]
                buffer_extend(self.run.buffers[slot], frame)
                self.unsent += len(frame)
        self.delivered += self.run.reached
        return self.run.reached

    cdef void drop_run(self) noexcept:
        cdef int slot
        for slot in range(self.run.slots):
            if self.run.buffers[slot] != NULL:
                buffer_give_back(self.run.buffers[slot])
        self.run.slots = 0
        self.run.serial = 0

    cdef int tell_unencodable(self, str channel, Message message, list encodings) except -1:
        cdef Subscriber subscriber
        for subscriber in self.subscribers(channel):
            if (
                subscriber.kind == KIND_OUTBOX
                and subscriber.encoding in encodings
                and self.wanted(subscriber, channel, message)
            ):
                try:
                    (<object>subscriber)._on_unencodable(channel)
                except Exception as error:
                    self.report("telling an outbox's owner failed", error)
        return 0

    cdef bint wanted(self, Subscriber subscriber, str channel, Message message) except -1:
        """Whether no filter of the subscriber keeps the message from it."""
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        cdef uint32_t item
        cdef PyObject* filter = NULL
        if record != NULL and record.extras != NULL:
            item = memberships_find(&subscriber.memberships, record)
            if item != NOT_A_MEMBER:
                filter = extras_filter(record.extras, subscriber.memberships.items[item].place)
        return filter == NULL or filter_matches(<TagsFilter>filter, message.own_tags)

    cdef int reserve(self, Kind kind, Py_ssize_t more) except -1:
        """Make room in a backlog, so that marking in a walk cannot fail."""
        cdef Backlog* backlog = &self.backlogs[<int>kind]
        cdef Py_ssize_t wanted = backlog.count + more
        if wanted > backlog.capacity:
            wanted = max(wanted, backlog.capacity * 2)
            backlog.items = <PyObject**>resize(backlog.items, wanted * sizeof(PyObject*))
            backlog.capacity = wanted
        return 0

    cdef int mark(self, Subscriber subscriber) except -1:
        """Have a subscriber settled at the end of this tick."""
        if not subscriber.marked:
            self.reserve(<Kind>subscriber.kind, 1)
            mark_reserved(self, <PyObject*>subscriber)
            self.schedule()
        return 0

    cdef int schedule(self) except -1:
        if not self.scheduled and self.loop is not None and (
            self.backlogs[<int>KIND_OUTBOX].count or self.backlogs[<int>KIND_QUEUE].count
        ):
            self.loop.call_soon(self._on_tick)
            self.scheduled = True
        return 0

    def _on_tick(self):
        self.scheduled = False
        self.turn_size = 0
        self.ticks += 1
        self.settle(KIND_OUTBOX)
        self.settle(KIND_QUEUE)
        if self.vacated:
            vacated, self.vacated = self.vacated, []
            if self.on_vacated is not None:
                self.on_vacated([name for name in vacated if not self.num_subscribers(name)])

    cdef int settle(self, Kind kind) except -1:
        """Settle what is marked. New marks meanwhile go into a new backlog.

        The settlers report what fails; only what must end the program (a
        KeyboardInterrupt in a callback) comes out of them. Then those it kept
        from being settled are marked again.
        """
        cdef Backlog taken = self.backlogs[<int>kind]
        cdef Py_ssize_t at
        if kind == KIND_OUTBOX:
            self.unsent = 0
            self.drop_run()
        if taken.count == 0:
            return 0
        memset(&self.backlogs[<int>kind], 0, sizeof(Backlog))
        for at in range(taken.count):
            (<Subscriber>taken.items[at]).marked = False
        try:
            settlers[<int>kind](self, taken.items, taken.count)
        except:
            for at in range(taken.count):
                self.mark(<Subscriber>taken.items[at])
            raise
        finally:
            for at in range(taken.count):
                disown(taken.items[at])
            if self.backlogs[<int>kind].items == NULL:
                taken.count = 0
                self.backlogs[<int>kind] = taken    # use the array again
            else:
                release(taken.items)
        return 0

    cdef bint enter(
        self, Subscriber subscriber, str channel, int flags, int slow, bint delta, Message base,
        TagsFilter filter,
    ) except -1:
        """Add a subscriber to a channel or change how it is in it; True when it is the first.

        The filter's use becomes the subscription's, unless this raises.
        """
        cdef Channel* record = <Channel*>table_find(&self.table, channel)
        cdef uint32_t item = NOT_A_MEMBER
        cdef Entry* entry
        cdef bint first = record == NULL
        cdef bint room = True
        if not first:
            item = memberships_find(&subscriber.memberships, record)
        if item == NOT_A_MEMBER:
            memberships_reserve(&subscriber.memberships)
        if first:
            table_reserve(&self.table)
            record = new_channel(self.next_serial)
        elif item == NOT_A_MEMBER:
            room = room_for_entry(record)
        if room and (delta or filter is not None):
            room = room_for_extras(record, filter is not None)
        if not room:
            if first:
                free_channel(record)
            raise MemoryError()
        # Nothing fails from here on.
        seal_run(self)
        if first:
            self.next_serial += 1
            table_insert(&self.table, &record.record, channel)
        if item == NOT_A_MEMBER:
            item = memberships_add(&subscriber.memberships, record, record.count)
            entry = &record.entries[record.count]
            entry.subscriber_borrowed = <PyObject*>subscriber
            entry.membership = item
            entry.kind = subscriber.kind
            entry.encoding = subscriber.encoding
            entry.form = FORM_PLAIN
            if record.extras != NULL and record.extras.filters != NULL:
                record.extras.filters[record.count] = NULL
            record.count += 1
            record.slow = <uint8_t>slow
            self.subscriptions_count += 1
        record.entries[subscriber.memberships.items[item].place].flags = <uint8_t>flags
        self.dress(record, subscriber.memberships.items[item].place, delta, base, filter)
        return first

    cdef bint leave(self, Subscriber subscriber, uint32_t item) noexcept:
        """Remove a subscriber from a channel; True when it was the last one."""
        cdef Channel* channel = <Channel*>subscriber.memberships.items[item].channel
        cdef uint32_t place = subscriber.memberships.items[item].place
        cdef uint32_t last = channel.count - 1
        cdef Entry* moved
        cdef Subscriber other
        check(channel.entries[place].subscriber_borrowed == <PyObject*>subscriber)
        seal_run(self)
        if channel.extras != NULL:
            extras_without_deltas(channel.extras, channel.entries[place].form)
            extras_move(channel.extras, place, last)
        memberships_remove(&subscriber.memberships, item)
        if item < subscriber.memberships.count:
            # The subscriber's last channel took the number of the removed one.
            moved = &(<Channel*>subscriber.memberships.items[item].channel).entries[
                subscriber.memberships.items[item].place]
            moved.membership = item
        if place != last:
            channel.entries[place] = channel.entries[last]
            moved = &channel.entries[place]
            (<Subscriber>moved.subscriber_borrowed).memberships.items[
                moved.membership].place = place
        channel.count = last
        self.subscriptions_count -= 1
        if last == 0:
            table_remove(&self.table, &channel.record)
            free_channel(channel)
            return True
        drop_unwanted_extras(channel)
        if last * 4 < channel.capacity and channel.capacity > 16:
            self.shrink(channel)
        return False

    cdef void dress(
        self, Channel* channel, uint32_t place, bint delta, Message base, TagsFilter filter
    ) noexcept:
        """Give a subscriber the form and the filter that it wants from now on.

        There is room for them, and the filter is in use for it.
        """
        cdef Entry* entry = &channel.entries[place]
        if delta:
            entry.form = extras_form(
                channel.extras, entry.form, entry.encoding, None if base is None else base.data)
        else:
            if channel.extras != NULL:
                extras_without_deltas(channel.extras, entry.form)
            entry.form = FORM_PLAIN
            if entry.kind == KIND_OUTBOX:
                channel.encodings |= 1u << entry.encoding
        if channel.extras != NULL:
            if channel.extras.filters != NULL:
                extras_set_filter(
                    channel.extras, place, NULL if filter is None else <PyObject*>filter)
            drop_unwanted_extras(channel)

    cdef void shrink(self, Channel* channel) noexcept:
        cdef uint32_t capacity = channel.count * 2
        cdef Entry* entries = <Entry*>try_resize(channel.entries, capacity * sizeof(Entry))
        if entries != NULL:     # else it stays larger than needed
            channel.entries = entries
            channel.capacity = capacity
            if channel.extras != NULL:
                extras_shrink(channel.extras, capacity)

    cdef int abandon(self, Subscriber subscriber) except -1:
        """A subscriber is being freed: leave its channels.

        The garbage collector may do this in any thread.
        """
        cdef Channel* channel
        cdef str name
        cdef bint scheduled = len(self.vacated) > 0
        while subscriber.memberships.count > 0:
            channel = <Channel*>subscriber.memberships.items[
                subscriber.memberships.count - 1].channel
            name = <str>channel.record.name_owned
            if (
                self.leave(subscriber, subscriber.memberships.count - 1)
                and self.on_vacated is not None
            ):
                try:
                    self.vacated.append(name)
                except MemoryError:
                    pass        # leaving the rest matters more than telling
        if self.vacated and not scheduled and not self.loop.is_closed():
            if PyThread_get_thread_ident() == self.thread:
                self.loop.call_soon(self._on_tick)
            else:
                self.loop.call_soon_threadsafe(self._on_tick)
        return 0

    cdef int empty_trash(self) except -1:
        cdef PyObject* message
        while self.trash_count > 0:
            self.trash_count -= 1
            message = self.trash[self.trash_count]
            disown(message)
        return 0

    cdef int report(self, str what, error) except -1:
        if self.loop is not None:       # else the hub is garbage
            self.loop.call_exception_handler({"message": what, "exception": error})
        return 0
