"""Published clients against the server, as they come from the registries."""

import pytest

# Two modules have these tests, each for where it runs the client.
pytest.register_assert_rewrite("tests.clients.javascript_scenarios")
