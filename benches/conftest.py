"""Settings of the benchmarks under pytest; see README.md."""

import sys
from pathlib import Path
from typing import Any

import pytest

# The benchmarks import each other, and the model, from the project's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.core.contenders import CONTENDERS
from benches.machine import describe_machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="one round of small sizes: shows that everything runs, the numbers mean nothing",
    )


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick"))


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    # The plugin's own description names the host.
    machine_info.clear()
    machine_info.update(describe_machine())


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    commit_info.clear()


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Add what the report says about the contenders, and which are missing."""
    output_json["quick"] = bool(config.getoption("--quick"))
    output_json["contenders"] = {}
    output_json["absent"] = []
    for name, make in CONTENDERS.items():
        try:
            contender = make()
        except ImportError as error:
            output_json["absent"].append({"name": name, "reason": str(error)})
        else:
            output_json["contenders"][name] = {
                "label": contender.label, "differs": contender.differs}
