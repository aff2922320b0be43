"""``fanout config``: checking a file, the defaults, a first configuration."""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path

import pytest

from fanout import cli
from fanout.server import engines
from fanout.server.config import Config, check, load
from fanout.server.config.describe import describe, every_key
from fanout.server.config.environment import variables
from fanout.server.config.render import FORMATS, defaults, first

SECRET = "do-not-show-this"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """The exit status, and the lines on standard output; there is nothing on standard error."""
    status = cli.main(["config", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    assert SECRET not in out
    return status, out.splitlines()


def written(tmp_path: Path, data: object) -> str:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    return str(path)


# check


def test_a_good_file_has_nothing_to_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, {"client": {"token": {"hmac_secret_key": SECRET}}})
    assert run(capsys, "check", path) == (0, [f"{path}: ok"])
    assert run(capsys, "check", "--strict", path) == (0, [f"{path}: ok"])


def test_every_bad_value_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path,
        {
            "client": {"channel_limit": -1, "insecure": "yes", "token": {"hmac_secret_key": 5}},
            "channel": {"namespaces": [{"name": "chat", "presence": 1}, {"history_size": "x"}]},
            "log": 5,
            "broker": {"enabled": True, "type": "nats"},
            "clinet": {"secret": SECRET},
        },
    )
    status, lines = run(capsys, "check", path)
    assert status == 1
    assert [line.removeprefix(f"{path}: ").partition(": ")[::2] for line in lines] == [
        ("error", "client.channel_limit = -1: must be a whole number from 0 to 4294967295 "
         "(0: no limit)"),
        ("error", 'client.insecure = "yes": must be true or false'),
        ("error", "client.token.hmac_secret_key: must be a string"),
        ("error", "channel.namespaces[chat].presence = 1: must be true or false"),
        ("error", 'channel.namespaces[1].history_size = "x": must be a whole number from 0 to '
         "4294967295 (0: no history)"),
        ("error", "log = 5: must be a table of keys (in JSON: an object)"),
        ("error", 'broker.type = "nats": must be "memory": here engine.type ("redis" or "nats") '
         "is for messages and presence both"),
        ("warning", "clinet: unknown key, ignored; did you mean client?"),
    ]  # fmt: skip


@pytest.mark.parametrize(("data", "start"), [
    ({"client": {"token": {"rsa_public_key": SECRET}}}, "client.token.rsa_public_key: must be"),
    ({"client": {"token": {"jwks_public_endpoint": "http://sso.example.com/certs"}}},
     "client.token.jwks_public_endpoint: must use https://"),
    ({"client": {"proxy": {"connect": {
        "enabled": True, "endpoint": "https://example.com/",
        "http": {"tls": {"enabled": True, "server_ca_pem": "no"}}}}}},
     "client.proxy.connect.http.tls.server_ca_pem: must be"),
    ({"client": {"insecure": True},
      "engine": {"type": "redis", "redis": {"address": "redis://localhost:99999"}}},
     "engine.redis: "),
])
def test_what_shows_when_the_server_is_made(
    data: object, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, data)
    status, lines = run(capsys, "check", path)
    assert status == 1
    assert lines[0].startswith(f"{path}: error: {start}")
    assert not any(line.endswith(": ok") for line in lines)


def test_an_engine_whose_packages_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    path = written(tmp_path, {"client": {"insecure": True}, "engine": {"type": "redis"}})
    status, lines = run(capsys, "check", path)
    assert status == 1
    assert lines[0] == (
        f"{path}: error: engine.type: redis, hiredis not installed: pip install 'fanout[redis]'")


def test_an_unknown_key_is_an_error_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, {"client": {"insecur": True, "insecure": True}, "debug": {"a": 1}})
    status, lines = run(capsys, "check", path)
    assert (status, [line.split(": ")[1] for line in lines]) == (
        0, ["warning"] * 3 + ["ok"])
    status, lines = run(capsys, "check", "--strict", path)
    assert status == 1
    assert lines[0] == (
        f"{path}: error: client.insecur: unknown key; did you mean client.insecure?"
    )
    assert [line.split(": ")[1] for line in lines[1:]] == ["warning", "warning"]


def test_a_broken_rule_between_keys_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, {"admin": {"enabled": True}})
    status, lines = run(capsys, "check", path)
    assert (status, lines) == (
        1, [f"{path}: error: admin.password: is needed with admin.enabled"]
    )


def test_a_certificate_that_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = {"enabled": True, "cert_pem": "/nowhere", "key_pem": SECRET}
    status, (line,) = run(capsys, "check", written(tmp_path, {"http_server": {"tls": tls}}))
    assert status == 1
    assert "error: http_server.tls.cert_pem: must be PEM" in line


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_is_no_configuration(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    status, (line,) = run(capsys, "check", str(path))
    assert status == 1
    assert line.startswith(f"{path}: error: ")


def test_the_environment_is_checked_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"client": {"insecure": True}})
    monkeypatch.setenv("FANOUT_CLIENT_CHANNEL_LIMIT", "many")
    monkeypatch.setenv("FANOUT_CLIENT_INSECURE", "false")
    status, (line,) = run(capsys, "check", path)
    assert status == 1
    assert line.startswith('environment: error: FANOUT_CLIENT_CHANNEL_LIMIT = "many": must be')


def test_a_warning_about_a_variable_does_not_blame_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"client": {"token": {"hmac_secret_key": SECRET}}})
    monkeypatch.setenv("FANOUT_CLIENT_INSECUR", SECRET)
    status, lines = run(capsys, "check", path)
    assert (status, lines) == (0, [
        "environment: warning: FANOUT_CLIENT_INSECUR: unknown variable, ignored; "
        "did you mean FANOUT_CLIENT_INSECURE?",
        f"{path}: ok",
    ])


def test_the_environment_alone_is_checked_without_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANOUT_CLIENT_TOKEN_HMAC_SECRET_KEY", SECRET)
    assert run(capsys, "check", "--strict") == (0, ["environment: ok"])
    monkeypatch.setenv("FANOUT_HTTP_SERVER_PORT", "http")
    status, (line,) = run(capsys, "check")
    assert status == 1
    assert line.startswith('environment: error: FANOUT_HTTP_SERVER_PORT = "http": must be')


@pytest.mark.parametrize(("data", "says"), [
    ({}, "nobody can connect"),
    ({"client": {"insecure": True}, "websocket": {"disabled": True}}, "no client can connect"),
    ({"client": {"insecure": True, "subscription_token": {"enabled": True}}},
     "every subscription token is refused"),
    ({"client": {"insecure": True},
      "channel": {"without_namespace": {"subscription_type": "map"}}},
     "every subscribe and publish there is refused"),
])
def test_what_nobody_can_mean_is_an_error_where_that_is_asked_for(
    data: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, data)
    status, lines = run(capsys, "check", path)
    assert (status, lines[-1]) == (0, f"{path}: ok")
    assert [line.split(": ")[1] for line in lines if says in line] == ["warning"]
    status, lines = run(capsys, "check", "--strict", path)
    assert status == 1
    assert [line.split(": ")[1] for line in lines if says in line] == ["error"]
    assert f"{path}: ok" not in lines


def test_serve_refuses_unknown_keys_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"client": {"insecur": SECRET}})
    monkeypatch.setenv("FANOUT_CLIENT_INSECUR", SECRET)
    assert cli.main(["serve", "--strict", "-c", path]) == 2
    assert capsys.readouterr().err == (
        f"fanout: {path}: FANOUT_CLIENT_INSECUR: unknown variable; "
        "did you mean FANOUT_CLIENT_INSECURE?; "
        "client.insecur: unknown key; did you mean client.insecure?\n"
    )


def test_serve_names_the_variable_and_not_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CENTRIFUGO_HTTP_SERVER_PORT", "http")
    assert cli.main(["serve", "--config", written(tmp_path, {})]) == 2
    assert capsys.readouterr().err.startswith(
        'fanout: CENTRIFUGO_HTTP_SERVER_PORT = "http": must be a port'
    )


# defaults


@pytest.mark.parametrize("kind", FORMATS)
def test_the_defaults_read_back_as_they_are(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = run(capsys, "defaults", "--format", kind)
    assert status == 0
    path = tmp_path / f"c.{kind}"
    path.write_text("\n".join(lines))
    assert load(path, strict=True) == (Config.default(), [])
    assert run(capsys, "check", str(path))[0] == 0


@pytest.mark.parametrize("kind", ["yaml", "toml"])
def test_every_key_is_there_with_what_it_means(kind: str) -> None:
    lines = [line.strip() for line in defaults(kind).splitlines()]
    for table in describe().tables:
        for key in every_key(table):
            assert key.meaning, f"{key.path} has no text beside it"
            if "[]" in key.path:
                continue
            sign = ":" if kind == "yaml" else " ="
            at = [i for i, line in enumerate(lines) if line.startswith(f"{key.name}{sign}")]
            assert at
            assert all(lines[i - 1].startswith("#") for i in at)


def test_every_key_names_its_variable() -> None:
    keys = {key.variable.removeprefix("CENTRIFUGO_"): key for key in every_key(describe())}
    for name in variables():
        if name not in keys and name.removesuffix("_FILE") in keys:
            assert keys[name.removesuffix("_FILE")].from_file
        elif name not in keys:
            # A list of tables: its own variable is not a key's.
            assert name.endswith(("NAMESPACES", "PROXIES", "TRANSFORMS"))


# generate


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.yml", "c.toml"])
def test_a_first_configuration_is_closed_and_has_its_secrets(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    status, lines = run(capsys, "generate", str(path))
    assert (status, lines[0]) == (0, f"{path} has new secrets, and only you may read it. Next:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config, warnings = load(path, strict=True)
    check(config)
    assert warnings == []
    secrets = {
        config.client.token.hmac_secret_key,
        config.http_api.key,
        config.admin.password,
        config.admin.secret,
    }
    assert len(secrets) == 4
    assert min(map(len, secrets)) >= 43  # base64 of 32 bytes
    assert not config.admin.enabled
    assert config.channel == Config.default().channel
    before = path.read_bytes()
    assert cli.main(["config", "generate", str(path)]) == 1
    assert capsys.readouterr().err == f"fanout: cannot write {path}: File exists\n"
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["yaml", "toml"])
def test_the_example_in_a_first_configuration_works(kind: str, tmp_path: Path) -> None:
    settings, _, example = first(kind).partition("\n\n# A namespace")
    path = tmp_path / f"c.{kind}"
    at = "# channel:" if kind == "yaml" else "# [[channel"
    example = example[example.index(at):]
    path.write_text(settings + "\n" + "".join(
        line.removeprefix("# ") for line in example.splitlines(keepends=True)))
    config, warnings = load(path, strict=True)
    check(config)
    assert warnings == []
    (namespace,) = config.channel.namespaces
    assert (namespace.name, namespace.allow_subscribe_for_client) == ("chat", True)
    assert (namespace.history_size, namespace.history_ttl) == (100, 600.0)


def test_what_comes_after_a_first_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, lines = run(capsys, "generate", "my config.json")
    commands = [shlex.split(line[line.index(" fanout ") :])[1:] for line in lines
                if " fanout " in line]
    assert [command[0] for command in commands] == ["token", "config", "serve"]
    assert cli.main(commands[0]) == 0
    assert capsys.readouterr().out.count(".") == 2      # a token
    assert cli.main(commands[1]) == 0
    capsys.readouterr()
    (line,) = (line for line in lines if "allow a namespace" in line)
    path = written(tmp_path, json.loads("{" + line.partition("namespace")[2].strip() + "}"))
    assert load(path, strict=True)[0].channel.namespaces[0].name == "chat"


def test_no_two_first_configurations_share_a_secret() -> None:
    one, other = json.loads(first("json")), json.loads(first("json"))
    assert one["http_api"]["key"] != other["http_api"]["key"]


def test_a_first_configuration_has_a_known_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "generate", "c.ini"]) == 2
    assert "must end in .json, .toml, .yaml or .yml" in capsys.readouterr().err
