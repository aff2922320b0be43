"""Allocation and references: every block and reference that the core owns
goes through these, so that a debug build can count them."""

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdlib cimport free, malloc, realloc


cdef extern from "debug.h":
    const bint FANOUT_DEBUG
    void check "FANOUT_ASSERT"(bint condition) noexcept nogil

cdef struct Counts:
    Py_ssize_t blocks
    Py_ssize_t references
    Py_ssize_t until_failure    # allocations up to the one that fails; 0: none does

cdef Counts live


cdef inline bint must_fail() noexcept:
    """Whether a test wants this allocation to fail (debug build only)."""
    if not FANOUT_DEBUG or live.until_failure == 0:
        return False
    live.until_failure -= 1
    return live.until_failure == 0


# Where Python must not run, a MemoryError must not be made either: making one
# may start the garbage collector. There the caller looks at the NULL.

cdef inline void* try_allocate(size_t size) noexcept:
    cdef void* block = NULL if must_fail() else malloc(size)
    if FANOUT_DEBUG and block != NULL:
        live.blocks += 1
    return block


cdef inline void* try_resize(void* block, size_t size) noexcept:
    """Grow or shrink a block; NULL when there is no memory, and the block is as it was."""
    cdef void* moved = NULL if must_fail() else realloc(block, size)
    if FANOUT_DEBUG and moved != NULL and block == NULL:
        live.blocks += 1
    return moved


cdef inline void* allocate(size_t size) except NULL:
    cdef void* block = try_allocate(size)
    if block == NULL:
        raise MemoryError()
    return block


cdef inline void* resize(void* block, size_t size) except NULL:
    """Grow or shrink a block; on MemoryError the old block stays valid."""
    cdef void* moved = try_resize(block, size)
    if moved == NULL:
        raise MemoryError()
    return moved


cdef inline void release(void* block) noexcept:
    if FANOUT_DEBUG and block != NULL:
        live.blocks -= 1
    free(block)


cdef inline void own(PyObject* reference) noexcept:
    """Take a reference that the core will give back with ``disown``."""
    Py_INCREF(<object>reference)
    if FANOUT_DEBUG:
        live.references += 1


cdef inline void adopt(PyObject* reference) noexcept:
    """Count a new reference, as an API function returned it, as one of the core's."""
    if FANOUT_DEBUG:
        live.references += 1


cdef inline void disown(PyObject* reference) noexcept:
    """Give a reference back. May run arbitrary Python: store first, disown last."""
    if FANOUT_DEBUG:
        live.references -= 1
    Py_DECREF(<object>reference)
