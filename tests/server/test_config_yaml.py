"""YAML files: what they say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from fanout.server.config import Config, ConfigError, load
from fanout.server.config.yaml_schema import MAX_VALUES, parse_yaml


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".YML"])
def test_yaml_says_the_same_as_json(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{ending}"
    path.write_text(
        """\
        # A comment.
        client:
          allowed_origins: [https://example.com]
          ping_interval: 10s
          token:
            hmac_secret_key: "0123"
        channel:
          without_namespace: &open
            presence: true
            history_size: 10
            history_ttl: 300
          namespaces:
            - name: chat
              <<: *open
              presence: false
            - {name: news.eu}
        engine:
        """
    )
    data = {
        "client": {
            "allowed_origins": ["https://example.com"],
            "ping_interval": "10s",
            "token": {"hmac_secret_key": "0123"},
        },
        "channel": {
            "without_namespace": {"presence": True, "history_size": 10, "history_ttl": "5m"},
            "namespaces": [
                {"name": "chat", "history_size": 10, "history_ttl": 300},
                {"name": "news.eu"},
            ],
        },
    }
    same = tmp_path / "c.json"
    same.write_text(json.dumps(data))
    assert load(path) == load(same)
    assert load(path)[0].channel.namespaces[0].history_ttl == 300.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML 1.1 has truth values, times and dates here.
        ("on", "on"), ("no", "no"), ("1:30", "1:30"), ("2001-01-01", "2001-01-01"),
        ("0b1", "0b1"), ("1_000", "1_000"), ("010", 10), ("0o10", 8), ("0x10", 16),
        ("true", True), ("~", None), ("", {}), ("1.5", 1.5), ("-3", -3), ("+3", 3), ("1e3", 1000.0),
        ("'1'", "1"), ("!!str 5", "5"), ("[a, 1]", ["a", 1]), ("---\n{}\n...", {}),
        (".inf", float("inf")), ("=", "="),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(text) == value


def bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join(lines).encode()


def merge_bomb() -> bytes:
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)
    ]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"log:\n  level: info\n  level: none",
         "is not valid YAML: 'level' stands twice in a table (line 3, column 3)"),
        (b"log: {level: info, 'level': none}", "'level' stands twice"),
        (b"log: &a\n  level: info\nlog: *a", "'log' stands twice"),
        (b"a: &a {level: info}\nlog:\n  <<: *a\n  x: 1\n  x: 2", "'x' stands twice"),
        (b"5: a", "a key must be a string: put it in quotes (line 1, column 1)"),
        (b"true: a", "a key must be a string"),
        (b"? [a]\n: b", "a key must be a string"),
        (b"log: [", "is not valid YAML: "),
        (b"log: @a", "is not valid YAML: found character '@' that cannot start any token"),
        (b"a: 1\n---\nb: 2", "but found another document"),
        (b"log: !!python/object/apply:os.system [true]", "is not for configurations (line 1"),
        (b"log: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not for"),
        (b"log: !!set {a}", "the tag tag:yaml.org,2002:set is not for"),
        (b"log: !mine a", "the tag !mine is not for"),
        (b"log: !!int many", "is not valid YAML: "),
        (b"log: *nobody", "found undefined alias"),
        (b"a: &a [*a]", "an alias stands inside what it names"),
        (b"a: &a {<<: *a}", "an alias stands inside what it names"),
        (b"log: \x07", "is not valid YAML: special characters are not allowed"),
        (b"[" * 1000, "is nested too deeply"),
        (b"- a", "must be a table of keys"),
        (b"client:\n  insecure: yes", 'client.insecure = "yes": must be true or false'),
        (b"client:\n  token:\n    hmac_secret_key: 0123",
         "client.token.hmac_secret_key: must be a string"),
        (b"client:\n  ping_interval: .nan", "client.ping_interval = NaN: must be at most"),
        (bomb(), f"has more than {MAX_VALUES} values with its aliases written out"),
        (merge_bomb(), f"has more than {MAX_VALUES} values with its aliases written out"),
        (b"a: " + b"x" * (4 << 20), "is larger than 4194304 bytes"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n")
    assert load(path) == (Config.default(), [])


# YAML allows a key 1024 characters on its line.
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",)), max_size=100)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@given(JSON)
def test_json_is_yaml(value: object) -> None:
    assume("Infinity" not in json.dumps(value))
    assert parse_yaml(json.dumps(value)) == value


@given(JSON)
def test_what_another_program_writes_is_read_as_it_was(value: object) -> None:
    # In quotes, because plain 1e3 is a string in YAML 1.1.
    assert parse_yaml(yaml.safe_dump(value, default_style='"')) == value


@given(st.text(st.sampled_from("ab:-[]{}&*<!|>'\"#%@`,? \n~.0123=")))
def test_any_text_is_read_or_refused_in_a_line(text: str) -> None:
    try:
        parse_yaml(text)
    except ValueError as error:
        assert "\n" not in str(error)
    except RecursionError:
        raise AssertionError("short texts nest less") from None
