"""How one payload lies on a transport: in a WebSocket frame, a line, an event, a chunk."""


cdef class Framing:
    cdef bytes framed(self, const char* payload, Py_ssize_t size)


cdef class WebSocketFraming(Framing):
    cdef int opcode


cdef class DeflateFraming(WebSocketFraming):
    cdef int level
    cdef Py_ssize_t min_size


cdef class LinesFraming(Framing):
    pass


cdef class EventFraming(Framing):
    pass


cdef class BlockFraming(Framing):
    pass
