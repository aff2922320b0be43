def valid_json(data: bytes) -> bool:
    """Whether ``data`` is one JSON value in UTF-8 (at most 512 levels deep)."""
