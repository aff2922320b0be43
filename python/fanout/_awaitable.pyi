from collections.abc import Generator
from typing import Any, Generic, TypeVar, final

_T = TypeVar("_T")

@final
class Ready(Generic[_T]):
    """An awaitable that is finished already: no task, no turn of the loop.

    With ``error`` awaiting it raises that; not awaiting it warns of nothing.
    """

    def __init__(self, value: _T = ..., error: BaseException | None = None) -> None: ...
    def done(self) -> bool: ...
    def result(self) -> _T: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
