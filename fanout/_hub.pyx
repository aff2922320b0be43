"""Channel -> subscribers, and the flush at the end of a loop's tick.

A channel's subscribers are one dense array of small entries; walking it runs
no Python and frees nothing, so the array cannot move while it is walked.
What must run Python (encoders before the walk, wake-ups, call-backs and
system calls at the end of the tick) runs outside of it.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from fanout._channel cimport (
    KIND_OUTBOX, KIND_QUEUE, KINDS, SLOW_DISCONNECT, SLOW_DROP_OLDEST, SLOW_KEEP_LATEST,
    WANTS_JOIN_LEAVE, Channel, Entry, Kind, channel_add, channel_dress, channel_free, channel_new,
    channel_remove, channel_reserve, channel_reserve_extras,
)
from fanout._delivery cimport (
    MAX_ENCODINGS, SLOTS, Delivery, delivery_address, delivery_clear, delivery_fill,
    delivery_free, frames_with_deltas,
)
from fanout._extras cimport (
    FORM_FULL, FORM_PATCH, FORM_PLAIN, Extras, extras_filter, extras_set_base, next_question,
)
from fanout._filter cimport (
    TagsFilter, filter_answer, filter_leave, filter_matches, filter_use,
)
from fanout._fossil cimport Base
from fanout._membership cimport (
    NOT_A_MEMBER, memberships_add, memberships_find, memberships_free, memberships_init,
    memberships_remove, memberships_reserve,
)
from fanout._memory cimport check, disown, release, resize
from fanout._message cimport Message, message_delta
from fanout._run cimport run_drop, run_extend, run_open
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


cdef int backlog_reserve(Backlog* backlog, Py_ssize_t more) except -1:
    """Make room, so that adding in a walk cannot fail."""
    cdef Py_ssize_t wanted = backlog.count + more
    if wanted > backlog.capacity:
        wanted = max(wanted, backlog.capacity * 2)
        backlog.items = <PyObject**>resize(backlog.items, wanted * sizeof(PyObject*))
        backlog.capacity = wanted
    return 0


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
        check(self.table.count == 0 and self.trash.count == 0)
        table_free(&self.table)
        cdef int kind
        for kind in range(<int>KINDS):
            check(self.backlogs[kind].count == 0)
            release(self.backlogs[kind].items)
        run_drop(&self.run)
        release(self.trash.items)
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
        cdef uint32_t unsaid = 0        # encodings in which it cannot be said
        cdef list frames = None
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
            # Not in a function of _delivery, as with deltas: that costs a small channel 2 to 8 %.
            frames = [None] * len(self.encoders)
            for encoding in range(len(self.encoders)):
                if encodings >> encoding & 1:
                    frame = self.encoders[encoding].publication(channel, message)
                    if frame is None:
                        unsaid |= 1u << encoding
                    frames[encoding] = frame
            # An encoder may have run anything.
            record = <Channel*>table_find(&self.table, channel)
            if record == NULL:
                return 0
            if record.serial == self.run.serial and unsaid == 0:
                return self.continue_run(frames)
        delivery_address(&delivery, record, message)
        reached = self.deliver(record, &delivery, frames)
        if unsaid:
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
        delivery_address(&delivery, record, None)
        delivery.flags = WANTS_JOIN_LEAVE
        # A join does not replace the latest message, but it disconnects nobody
        # from a channel that would rather lose something.
        delivery.slow = SLOW_DISCONNECT if record.slow == SLOW_DISCONNECT else SLOW_DROP_OLDEST
        return self.deliver(record, &delivery, frames)

    cdef Py_ssize_t deliver(self, Channel* channel, Delivery* delivery, list frames) except -1:
        """Walk the channel's subscribers. Nothing in the walk runs Python."""
        cdef Py_ssize_t reached = 0
        cdef uint32_t at
        cdef int slots = len(self.encoders)
        cdef const Entry* entry
        seal_run(self)
        backlog_reserve(&self.backlogs[<int>KIND_OUTBOX], channel.count)
        backlog_reserve(&self.backlogs[<int>KIND_QUEUE], channel.count)
        backlog_reserve(&self.trash, channel.count)
        if channel.extras != NULL or (frames is not None and len(frames) > slots):
            slots = SLOTS
        delivery_clear(delivery, slots)
        try:
            if frames is not None:
                self.unsent += delivery_fill(delivery, frames)
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
                run_open(&self.run, delivery, reached)
        finally:
            delivery_free(delivery)
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
        cdef uint32_t unsaid            # encodings in which it cannot be said
        if message_delta(message) and record.extras.base_owned != NULL:
            base = Base(<bytes>record.extras.base_owned)
        frames = frames_with_deltas(
            self.encoders, channel, message, record.encodings, full, patch, base, &unsaid)
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
            full = patch = record.extras.full | record.extras.patch
            frames = frames_with_deltas(
                self.encoders, channel, message, record.encodings, full, patch, None, &unsaid)
            record = <Channel*>table_find(&self.table, channel)
            if record == NULL:
                return 0
        if record.serial == self.run.serial and unsaid == 0:
            reached = self.continue_run(frames)
            extras_set_base(record.extras, message.data)
            return reached
        delivery_address(&delivery, record, message)
        reached = self.deliver(record, &delivery, frames)
        if unsaid:
            self.tell_unencodable(channel, message, unsaid)
        return reached

    cdef Py_ssize_t continue_run(self, list frames) except -1:
        """Queue one more message to all that the run's first one reached."""
        self.unsent += run_extend(&self.run, frames)
        self.delivered += self.run.reached
        return self.run.reached

    cdef int tell_unencodable(self, str channel, Message message, uint32_t encodings) except -1:
        cdef Subscriber subscriber
        for subscriber in self.subscribers(channel):
            if (
                subscriber.kind == KIND_OUTBOX
                and encodings >> subscriber.encoding & 1
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

    cdef int mark(self, Subscriber subscriber) except -1:
        """Have a subscriber settled at the end of this tick."""
        if not subscriber.marked:
            backlog_reserve(&self.backlogs[subscriber.kind], 1)
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
            run_drop(&self.run)
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
        cdef uint32_t place
        cdef bint first = record == NULL
        cdef bint room = True
        if not first:
            item = memberships_find(&subscriber.memberships, record)
        if item == NOT_A_MEMBER:
            memberships_reserve(&subscriber.memberships)
        if first:
            table_reserve(&self.table)
            record = channel_new(self.next_serial)
        elif item == NOT_A_MEMBER:
            room = channel_reserve(record)
        if room and (delta or filter is not None):
            room = channel_reserve_extras(record, filter is not None)
        if not room:
            if first:
                channel_free(record)
            raise MemoryError()
        # Nothing fails from here on.
        seal_run(self)
        if first:
            self.next_serial += 1
            table_insert(&self.table, &record.record, channel)
        if item == NOT_A_MEMBER:
            item = memberships_add(&subscriber.memberships, record, record.count)
            channel_add(
                record, <PyObject*>subscriber, item, subscriber.kind, subscriber.encoding)
            record.slow = <uint8_t>slow
            self.subscriptions_count += 1
        place = subscriber.memberships.items[item].place
        record.entries[place].flags = <uint8_t>flags
        channel_dress(
            record, place, delta, None if base is None else base.data,
            NULL if filter is None else <PyObject*>filter)
        return first

    cdef bint leave(self, Subscriber subscriber, uint32_t item) noexcept:
        """Remove a subscriber from a channel; True when it was the last one."""
        cdef Channel* channel = <Channel*>subscriber.memberships.items[item].channel
        cdef uint32_t place = subscriber.memberships.items[item].place
        cdef Entry* moved
        check(channel.entries[place].subscriber_borrowed == <PyObject*>subscriber)
        seal_run(self)
        memberships_remove(&subscriber.memberships, item)
        if item < subscriber.memberships.count:
            # The subscriber's last channel took the number of the removed one.
            moved = &(<Channel*>subscriber.memberships.items[item].channel).entries[
                subscriber.memberships.items[item].place]
            moved.membership = item
        channel_remove(channel, place)
        if place < channel.count:
            moved = &channel.entries[place]
            (<Subscriber>moved.subscriber_borrowed).memberships.items[
                moved.membership].place = place
        self.subscriptions_count -= 1
        if channel.count == 0:
            table_remove(&self.table, &channel.record)
            channel_free(channel)
            return True
        return False

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
        while self.trash.count > 0:
            self.trash.count -= 1
            message = self.trash.items[self.trash.count]
            disown(message)
        return 0

    cdef int report(self, str what, error) except -1:
        if self.loop is not None:       # else the hub is garbage
            self.loop.call_exception_handler({"message": what, "exception": error})
        return 0
