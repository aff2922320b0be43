"""Runs one body of tests over the core and over its model."""

from __future__ import annotations

import pytest

from tests.core.implementations import CORE, REFERENCE, Implementation


@pytest.fixture(params=[CORE, REFERENCE], ids=lambda implementation: implementation.name)
def impl(request: pytest.FixtureRequest) -> Implementation:
    return request.param
