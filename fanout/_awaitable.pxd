"""An awaitable that is finished already."""


cdef class Ready:
    cdef object value
    cdef object error


cdef inline Ready ready(value):
    cdef Ready made = Ready.__new__(Ready)
    made.value = value
    return made
