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

cdef Counts live


cdef inline void* allocate(size_t size) except NULL:
    cdef void* block = malloc(size)
    if block == NULL:
        raise MemoryError()
    if FANOUT_DEBUG:
        live.blocks += 1
    return block


cdef inline void* resize(void* block, size_t size) except NULL:
    """Grow or shrink a block; on MemoryError the old block stays valid."""
    cdef void* moved = realloc(block, size)
    if moved == NULL:
        raise MemoryError()
    if FANOUT_DEBUG and block == NULL:
        live.blocks += 1
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


cdef inline void disown(PyObject* reference) noexcept:
    """Give a reference back. May run arbitrary Python: store first, disown last."""
    if FANOUT_DEBUG:
        live.references -= 1
    Py_DECREF(<object>reference)
