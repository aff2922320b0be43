"""``docs/configuration.md`` says what the model says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from fanout.server.config import Config, load
from fanout.server.config.describe import describe, every_key
from fanout.server.config.unsupported import IGNORED, REFUSED

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text()


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_configuration", DOCS / "configuration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(writer: ModuleType) -> None:
    assert writer.page() == PAGE, "run: python docs/configuration.py"


def test_every_key_is_on_the_page() -> None:
    for key in every_key(describe()):
        assert f"| `{key.name}` |" in PAGE
    for path in (*IGNORED, *REFUSED):
        assert f"| `{path}` |" in PAGE


def test_every_link_has_its_heading() -> None:
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", heading).lower() for heading in headings}
    assert len(headings) == len(set(headings))
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert links
    assert links <= anchors


def test_its_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for name in ("token_key", "api_key"):
        (tmp_path / name).write_text("secret\n")
    path = tmp_path / "c.yaml"
    path.write_text(example.replace("/run/secrets", str(tmp_path)))
    config, warnings = load(path, strict=True)
    assert warnings == []
    assert config.http_api.key == config.client.token.hmac_secret_key == "secret"
    assert config.channel.namespaces[0].force_recovery


def test_its_variables_are_variables() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    environ = dict(
        line.strip().replace('"', "").split("=", 1) for line in block.splitlines() if line.strip()
    )
    config, warnings = load(None, environ=environ, strict=True)
    assert warnings == []
    assert [n.name for n in config.channel.namespaces] == ["chat", "eu.news"]
    assert config.channel.namespaces[1].history_size == 10


def test_what_it_says_of_the_defaults_is_so() -> None:
    config = Config.default()
    assert config.http_server.address == "127.0.0.1"
    assert config.health.enabled
    assert config.engine.nats.prefix == config.engine.redis.prefix == "fanout"
