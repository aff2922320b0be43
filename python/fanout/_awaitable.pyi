from collections.abc import Generator
from typing import Any, Generic, TypeVar, final

T = TypeVar("T")

@final
class Ready(Generic[T]):
    """An awaitable that is finished already: no task, no turn of the loop.

    With ``error`` awaiting it raises that; not awaiting it warns of nothing.
    """

    def __init__(self, value: T = ..., error: BaseException | None = None) -> None: ...
    def done(self) -> bool: ...
    def result(self) -> T: ...
    def __await__(self) -> Generator[Any, None, T]: ...
