from collections.abc import Iterable, Mapping
from typing import final

@final
class TagsFilter:
    """Which publications a subscriber wants, by their tags; immutable.

    A node of the protocol's filter language. ``op`` is ``""`` for a
    comparison, else ``"and"``, ``"or"`` or ``"not"`` of ``nodes``. ``cmp`` is
    one of eq, neq, in, nin, ex, nex, sw, ew, ct, gt, gte, lt and lte; ``in``
    and ``nin`` take ``vals``, ``ex`` and ``nex`` nothing, the others ``val``.
    A tag that is missing is not equal to anything, counts as the empty string
    for ``in`` and ``nin``, and makes all else false. Numbers are decimals of
    at most 200 characters with at most 19 digits behind the point, and are
    compared exactly; what is none makes the comparison false.

    ``ValueError`` for a tree that is no filter, is deeper than 16 levels, or
    has more than 256 nodes or 1,024 ``vals``.
    """

    def __init__(
        self,
        op: str = "",
        key: str = "",
        cmp: str = "",
        val: str = "",
        vals: Iterable[str] = (),
        nodes: Iterable[TagsFilter] = (),
    ) -> None: ...
    @property
    def op(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def cmp(self) -> str: ...
    @property
    def val(self) -> str: ...
    @property
    def vals(self) -> tuple[str, ...]: ...
    @property
    def nodes(self) -> tuple[TagsFilter, ...]: ...
    def matches(self, tags: Mapping[str, str] | None) -> bool:
        """Whether a publication with these tags is wanted."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def num_filters_in_use() -> int:
    """Different filters that subscriptions have, in all hubs."""
