def create(base: bytes, target: bytes) -> bytes:
    """The patch that makes ``target`` of ``base``, in Fossil's delta format.

    Where ``target`` is UTF-8, so is the patch. ``ValueError`` when one is of
    4 GiB or more.
    """

def apply(base: bytes, patch: bytes) -> bytes:
    """What the patch makes of ``base``; ``ValueError`` when it is none, or one of another base."""
