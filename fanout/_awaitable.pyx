"""An awaitable that is finished already."""

cimport cython


@cython.final
@cython.freelist(64)
cdef class Ready:
    def __init__(self, value=None, error=None):
        if error is not None and not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception or None, not {error!r}")
        self.value = value
        self.error = error

    def done(self):
        return True

    def result(self):
        if self.error is not None:
            raise self.error
        return self.value

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.error is not None:
            raise self.error
        raise StopIteration(self.value)
