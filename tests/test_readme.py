"""What the README shows runs as it is printed."""

import json
import pathlib
import re
import subprocess
import sys

from fanout.server.config import load

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_library_example_prints_what_it_says() -> None:
    example = blocks("python")[0]
    printed = re.search(r"It prints\n\n```\n(.*?)```", README, re.DOTALL)
    assert printed is not None
    assert len(example.splitlines()) <= 15
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", example],
        capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    assert result.stdout == printed[1]


def test_the_configuration_example_has_no_warning(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(blocks("json")[0])
    config, warnings = load(path)
    assert warnings == []
    assert config.channel.namespaces[0].name == json.loads(
        blocks("json")[0])["channel"]["namespaces"][0]["name"]
