"""What the node's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fanout import ClientError, Disconnect, codes


@pytest.fixture(autouse=True)
def refusals_forget() -> Iterator[None]:
    """A session does this for the refusals that it handles; here the tests handle them."""
    yield
    for value in vars(codes).values():
        if isinstance(value, ClientError | Disconnect):
            codes.forget_where(value)
