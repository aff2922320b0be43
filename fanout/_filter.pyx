"""Filters of publications by their tags, evaluated without running Python.

The language is that of the Centrifuge protocol's ``FilterNode``. Keys, values
and tags are exact strings, whose hashing and comparing is C alone.
"""

cimport cython
from cpython.exc cimport PyErr_Clear
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from fanout._message cimport checked_tags


cdef extern from "Python.h":
    PyObject* PyDict_GetItemWithError(PyObject* mapping, PyObject* key) noexcept
    int PySet_Contains(PyObject* set, PyObject* key) noexcept
    int PyUnicode_Compare(PyObject* one, PyObject* other) noexcept
    Py_ssize_t PyUnicode_Tailmatch(
        PyObject* text, PyObject* part, Py_ssize_t start, Py_ssize_t end, int direction) noexcept
    Py_ssize_t PyUnicode_Find(
        PyObject* text, PyObject* part, Py_ssize_t start, Py_ssize_t end, int direction) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject* text) noexcept
    bint PyUnicode_IS_ASCII(PyObject* text) noexcept
    const char* PyUnicode_DATA(PyObject* text) noexcept

cdef enum What:
    AND
    OR
    NOT
    EQUAL
    NOT_EQUAL
    IN
    NOT_IN
    EXISTS
    NOT_EXISTS
    STARTS_WITH
    ENDS_WITH
    CONTAINS
    GREATER
    GREATER_OR_EQUAL
    LESS
    LESS_OR_EQUAL

cdef enum:
    DEEPEST = 16            # levels of nodes
    MOST_NODES = 256        # of a whole tree, and
    MOST_VALS = 1024        # of all its nodes' vals
    LONGEST_NUMBER = 200    # characters, and
    MOST_DECIMALS = 19      # digits behind the point, of numbers that Centrifugo compares
    FORWARD = 1
    BACKWARD = -1

cdef dict OPERATIONS = {"and": AND, "or": OR, "not": NOT}
cdef dict COMPARISONS = {
    "eq": EQUAL, "neq": NOT_EQUAL, "in": IN, "nin": NOT_IN, "ex": EXISTS, "nex": NOT_EXISTS,
    "sw": STARTS_WITH, "ew": ENDS_WITH, "ct": CONTAINS, "gt": GREATER, "gte": GREATER_OR_EQUAL,
    "lt": LESS, "lte": LESS_OR_EQUAL,
}
cdef str NO_TEXT = ""


@cython.final
@cython.no_gc       # a tree of strings: its nodes are older than itself
cdef class TagsFilter:
    def __cinit__(self, str op not None="", str key not None="", str cmp not None="",
                  str val not None="", vals=(), nodes=()):
        cdef TagsFilter node
        self.op = op
        self.key = key
        self.cmp = cmp
        self.val = val
        self.vals = tuple(vals)
        self.nodes = tuple(nodes)
        self.depth = 1
        self.nodes_count = 1
        self.vals_count = len(self.vals)
        for value in self.vals:
            if type(value) is not str:
                raise TypeError(f"vals must be str, not {value!r}")
        for child in self.nodes:
            if type(child) is not TagsFilter:
                raise TypeError(f"nodes must be TagsFilter, not {child!r}")
            node = child
            self.depth = max(self.depth, node.depth + 1)
            self.nodes_count += node.nodes_count
            self.vals_count += node.vals_count
        if self.depth > DEEPEST:
            raise ValueError(f"a filter must be at most {DEEPEST} levels deep")
        if self.nodes_count > MOST_NODES:
            raise ValueError(f"a filter must have at most {MOST_NODES} nodes")
        if self.vals_count > MOST_VALS:
            raise ValueError(f"a filter must have at most {MOST_VALS} vals")
        if op:
            self.what = checked_operation(self)
        else:
            self.what = checked_comparison(self)
        self.members = frozenset(self.vals)
        self.hash = hash((op, key, cmp, val, self.vals, self.nodes))

    def matches(self, tags):
        return bool(filter_matches(self, None if tags is None else checked_tags(tags)))

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        if type(other) is not TagsFilter:
            return NotImplemented
        return self is other or bool(self.same(other))

    def __repr__(self):
        cdef list parts = [
            f"{name}={value!r}" for name, value in (
                ("op", self.op), ("key", self.key), ("cmp", self.cmp), ("val", self.val),
                ("vals", self.vals), ("nodes", self.nodes))
            if value
        ]
        return f"TagsFilter({', '.join(parts)})"

    def __reduce__(self):
        return (TagsFilter, (self.op, self.key, self.cmp, self.val, self.vals, self.nodes))

    cdef bint same(self, TagsFilter other) except -1:
        return (
            self.hash == other.hash
            and self.op == other.op
            and self.key == other.key
            and self.cmp == other.cmp
            and self.val == other.val
            and self.vals == other.vals
            and self.nodes == other.nodes
        )


cdef int checked_operation(TagsFilter node) except -1:
    if node.op not in OPERATIONS:
        raise ValueError(f"a filter's op must be '', 'and', 'or' or 'not', not {node.op!r}")
    if node.op == "not" and len(node.nodes) != 1:
        raise ValueError(f"a filter's 'not' must have one node, not {len(node.nodes)}")
    if not node.nodes:
        raise ValueError(f"a filter's {node.op!r} must have at least one node")
    return OPERATIONS[node.op]


cdef int checked_comparison(TagsFilter node) except -1:
    if node.cmp not in COMPARISONS:
        raise ValueError(
            f"a filter's cmp must be one of {', '.join(COMPARISONS)}, not {node.cmp!r}")
    cdef int what = COMPARISONS[node.cmp]
    if what == EXISTS or what == NOT_EXISTS:
        if node.val or node.vals:
            raise ValueError(f"a filter's {node.cmp!r} must have neither val nor vals")
        return what
    if not node.key:
        raise ValueError(f"a filter's {node.cmp!r} must have a key")
    if what == IN or what == NOT_IN:
        if node.val:
            raise ValueError(f"a filter's {node.cmp!r} must have vals and no val")
        if not node.vals:
            raise ValueError(f"a filter's {node.cmp!r} must have at least one of vals")
    else:
        if node.vals:
            raise ValueError(f"a filter's {node.cmp!r} must have a val and no vals")
        if not node.val:
            raise ValueError(f"a filter's {node.cmp!r} must have a val")
    return what


# -- equal filters are one, so that each is asked once per publish


cdef dict in_use = {}


cdef TagsFilter filter_use(TagsFilter filter):
    """The one among the filter's equals that is in use; count one use more."""
    cdef TagsFilter found = in_use.setdefault(filter, filter)
    found.uses += 1
    return found


cdef void filter_leave(PyObject* filter) noexcept:
    """Count one use less. Runs no Python."""
    cdef TagsFilter found = <TagsFilter>filter
    found.uses -= 1
    if found.uses == 0:
        del in_use[found]


def num_filters_in_use():
    """Different filters that subscriptions have, in all hubs."""
    return len(in_use)


cdef bint filter_answer(PyObject* filter, PyObject* tags, uint64_t question) noexcept:
    """Whether the tags match; found out once for each question."""
    cdef TagsFilter asked = <TagsFilter>filter
    if asked.asked != question:
        asked.answer = matches(asked, tags)
        asked.asked = question
    return asked.answer


cdef bint filter_matches(TagsFilter filter, dict tags) noexcept:
    return matches(filter, <PyObject*>tags if tags is not None else NULL)


cdef bint matches(TagsFilter filter, PyObject* tags) noexcept:
    """``tags``: an exact dict of exact strings, or NULL."""
    cdef PyObject* value
    cdef PyObject* val
    cdef object node
    cdef int order
    if filter.what == AND:
        for node in filter.nodes:
            if not matches(<TagsFilter>node, tags):
                return False
        return True
    if filter.what == OR:
        for node in filter.nodes:
            if matches(<TagsFilter>node, tags):
                return True
        return False
    if filter.what == NOT:
        node = filter.nodes[0]
        return not matches(<TagsFilter>node, tags)
    val = <PyObject*>filter.val
    value = PyDict_GetItemWithError(tags, <PyObject*>filter.key) if tags != NULL else NULL
    if filter.what == EXISTS:
        return value != NULL
    if filter.what == NOT_EXISTS:
        return value == NULL
    if filter.what == IN or filter.what == NOT_IN:
        if value == NULL:
            value = <PyObject*>NO_TEXT
        return (PySet_Contains(<PyObject*>filter.members, value) == 1) == (filter.what == IN)
    if value == NULL:
        return filter.what == NOT_EQUAL
    if filter.what == EQUAL:
        return PyUnicode_Compare(value, val) == 0
    if filter.what == NOT_EQUAL:
        return PyUnicode_Compare(value, val) != 0
    if filter.what == STARTS_WITH:
        return PyUnicode_Tailmatch(value, val, 0, PyUnicode_GET_LENGTH(value), BACKWARD) == 1
    if filter.what == ENDS_WITH:
        return PyUnicode_Tailmatch(value, val, 0, PyUnicode_GET_LENGTH(value), FORWARD) == 1
    if filter.what == CONTAINS:
        return found_in(value, val)
    if not compared(value, val, &order):
        return False
    if filter.what == GREATER:
        return order > 0
    if filter.what == GREATER_OR_EQUAL:
        return order >= 0
    if filter.what == LESS:
        return order < 0
    return order <= 0


cdef bint found_in(PyObject* text, PyObject* part) noexcept:
    cdef Py_ssize_t at = PyUnicode_Find(text, part, 0, PyUnicode_GET_LENGTH(text), FORWARD)
    if at == -2:                # no memory to widen one of them
        PyErr_Clear()
    return at >= 0


# -- numbers


cdef struct Decimal:
    bint negative           # and not zero
    const char* whole       # digits without leading zeros
    Py_ssize_t whole_size
    const char* decimals    # digits without trailing zeros
    Py_ssize_t decimals_size


cdef Py_ssize_t digits_at(const char* at, const char* end) noexcept:
    cdef const char* start = at
    while at < end and ord(b"0") <= at[0] <= ord(b"9"):
        at += 1
    return at - start


cdef bint parse(PyObject* text, Decimal* number) noexcept:
    """Whether the text is a number: an optional sign, digits, a point and digits."""
    if not PyUnicode_IS_ASCII(text) or PyUnicode_GET_LENGTH(text) > LONGEST_NUMBER:
        return False
    cdef const char* at = PyUnicode_DATA(text)
    cdef const char* end = at + PyUnicode_GET_LENGTH(text)
    number.negative = at < end and at[0] == ord(b"-")
    if at < end and (at[0] == ord(b"-") or at[0] == ord(b"+")):
        at += 1
    number.whole = at
    number.whole_size = digits_at(at, end)
    if number.whole_size == 0:
        return False
    at += number.whole_size
    number.decimals = at
    number.decimals_size = 0
    if at < end and at[0] == ord(b"."):
        at += 1
        number.decimals = at
        number.decimals_size = digits_at(at, end)
        if not 0 < number.decimals_size <= MOST_DECIMALS:
            return False
        at += number.decimals_size
    if at != end:
        return False
    while number.whole_size > 0 and number.whole[0] == ord(b"0"):
        number.whole += 1
        number.whole_size -= 1
    while (
        number.decimals_size > 0
        and (number.decimals + number.decimals_size - 1)[0] == ord(b"0")
    ):
        number.decimals_size -= 1
    if number.whole_size == 0 and number.decimals_size == 0:
        number.negative = False
    return True


cdef int sign(Py_ssize_t number) noexcept:
    return 1 if number > 0 else -1 if number < 0 else 0


cdef int order_of(const Decimal* one, const Decimal* other) noexcept:
    """Without their signs: below, at or above 0."""
    cdef int order
    if one.whole_size != other.whole_size:
        return sign(one.whole_size - other.whole_size)
    order = memcmp(one.whole, other.whole, one.whole_size)
    if order == 0:
        order = memcmp(
            one.decimals, other.decimals, min(one.decimals_size, other.decimals_size))
    return order if order != 0 else sign(one.decimals_size - other.decimals_size)


cdef bint compared(PyObject* one, PyObject* other, int* order) noexcept:
    """Compare two texts as numbers; whether both are."""
    cdef Decimal left, right
    if not parse(one, &left) or not parse(other, &right):
        return False
    if left.negative != right.negative:
        order[0] = -1 if left.negative else 1
    else:
        order[0] = order_of(&right, &left) if left.negative else order_of(&left, &right)
    return True
