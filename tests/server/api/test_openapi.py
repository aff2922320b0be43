"""The OpenAPI description, and that the server does as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from fanout.server.api.http import ERROR_MODE_HEADER
from fanout.server.api.methods import METHODS
from fanout.server.api.openapi import description
from tests.server.api.calling import KEY, SETTINGS, api_server
from tests.server.running import Process, get

DESCRIBED = {**SETTINGS, "swagger": {"enabled": True}}
# What is not there is answered in the same way whatever its name.
NOT_THERE = [f"/api/{name}" for name, method in METHODS.items() if not method.available]
OPERATIONS = [
    operation for result in
    schemathesis.openapi.from_dict(description("/api")).get_all_operations()
    if (operation := result.ok()).path not in NOT_THERE[1:]]
# Their errors are in the replies, whatever the error mode.
SEVERAL = ("/api", "/api/batch")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(DESCRIBED, tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_the_server_does_as_its_description_says(
    server: Process, operation: Any, mode: GenerationMode
) -> None:
    headers = {"X-API-Key": KEY}
    if mode is GenerationMode.NEGATIVE:
        headers[ERROR_MODE_HEADER] = "transport"    # so that what is refused has a status

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=5, derandomize=True, deadline=None, database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))
    def check(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = with_plain_integers(case.body)
        case.call_and_validate(
            base_url=server.http,
            headers=headers,
            excluded_checks=[negative_data_rejection] if operation.path in SEVERAL else [],
        )

    check()
    assert server.is_running


def with_plain_integers(value: Any) -> Any:
    """1.0 as 1: a schema cannot tell them apart, the server takes no fraction for an integer."""
    if isinstance(value, dict):
        return {name: with_plain_integers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_plain_integers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


async def test_where_it_is_served() -> None:
    async with api_server(DESCRIBED) as api:
        documents = []
        for path in ("/swagger", "/swagger/", "/swagger/openapi.json"):
            status, headers, body = await get(api.server.http + path)
            assert (status, headers["Content-Type"]) == (200, "application/json")
            documents.append(json.loads(body))
        assert documents == [description("/api")] * 3
    settings = {
        "swagger": {"enabled": True, "handler_prefix": "/docs"},
        "http_api": {"handler_prefix": "/v1"},
    }
    async with api_server(settings) as api:
        _, _, body = await get(f"{api.server.http}/docs")
        assert "/v1/publish" in json.loads(body)["paths"]
        assert (await get(f"{api.server.http}/swagger"))[0] == 404


async def test_it_is_off_by_default() -> None:
    async with api_server() as api:
        assert (await get(f"{api.server.http}/swagger"))[0] == 404


def test_every_method_is_described() -> None:
    document = description("/api/")
    paths = document["paths"]
    assert set(paths) == {"/api", "/api/batch", *(f"/api/{name}" for name in METHODS)}
    assert KEY not in json.dumps(document)
    for path in paths.values():
        (operation,) = path.values()
        assert operation["summary"]
        assert operation["security"]
