from typing import final

def create(base: bytes, target: bytes) -> bytes:
    """The patch that makes ``target`` of ``base``, in Fossil's delta format.

    Where ``target`` is UTF-8, so is the patch. ``ValueError`` when one is of
    4 GiB or more.
    """

def apply(base: bytes, patch: bytes) -> bytes:
    """What the patch makes of ``base``; ``ValueError`` when it is none, or one of another base."""

@final
class Base:
    """What a patch starts from: ``data``, which a subscriber has.

    It remembers the ``patch`` that was made of it last, None if that would
    not have been smaller than its target.
    """

    def __init__(self, data: bytes) -> None: ...
    @property
    def data(self) -> bytes: ...
    @property
    def patch(self) -> bytes | None: ...
