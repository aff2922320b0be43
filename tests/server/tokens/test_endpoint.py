"""Endpoints that a configuration may name, and those that it may not."""

from __future__ import annotations

import pytest

from fanout.server.config import ConfigError
from fanout.server.tokens import TokenVerifier
from tests.server.tokens.support import Options

LISTED = "^https://(?P<tenant>one|two)$"


@pytest.mark.parametrize("url", [
    "https://a.example/keys", "http://localhost:1/keys", "http://127.0.0.1/keys",
    "http://127.9.9.9/keys", "http://[::1]:8/keys", "https://{{tenant}}.example/keys",
    "https://a.example/{{tenant}}/{{tenant}}"])
def test_good(url: str) -> None:
    TokenVerifier(Options(jwks_public_endpoint=url, issuer_regex=LISTED))


@pytest.mark.parametrize(("url", "rule"), [
    ("http://keys.example/", "https://"), ("http://10.0.0.1/", "https://"),
    ("http://localhost.example/", "https://"), ("http://{{tenant}}/", "https://"),
    ("ftp://a.example/", "a URL"), ("keys", "a URL"), ("https://", "a URL"),
    ("https://[/", "a URL"), ("https://u:p@a.example/", "password"),
    ("https://a.example/{{other}}", "{{other}}"), ("https://a.example/{{}}", "{{}}")])
def test_bad(url: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenVerifier(Options(jwks_public_endpoint=url, issuer_regex=LISTED))
    assert str(caught.value).startswith("client.token.jwks_public_endpoint: ")
    assert rule in str(caught.value)


@pytest.mark.parametrize("group", [
    "one", "one|two", r"a\.b|c-d", "one/two"])
def test_groups_that_list_their_values(group: str) -> None:
    TokenVerifier(Options(jwks_public_endpoint="https://a.example/{{tenant}}",
                          audience_regex=f"^(?P<tenant>{group})$"))


@pytest.mark.parametrize("group", [
    ".*", "[a-z]+", r"\w+", "one|t.o", "a?", "a*", "a{2}", "", "one|", "(a|b)", "(?:a)", r"\d",
    "^a", "a$"])
@pytest.mark.parametrize("name", ["issuer_regex", "audience_regex"])
def test_groups_that_do_not(group: str, name: str) -> None:
    options = {"jwks_public_endpoint": "https://a.example/{{tenant}}",
               name: f"^(?P<tenant>{group})$"}
    with pytest.raises(ConfigError, match=rf"{name}: .*'tenant'.* list its values"):
        TokenVerifier(Options(**options))  # type: ignore[arg-type]
    TokenVerifier(Options(**options, insecure_skip_jwks_endpoint_safety_check=True))  # type: ignore[arg-type]


def test_groups_that_are_not_in_the_url_may_be_open() -> None:
    TokenVerifier(Options(jwks_public_endpoint="https://a.example/{{tenant}}",
                          issuer_regex="^(?P<tenant>one|two)/(?P<rest>.*)$"))


def test_plain_http_elsewhere_when_allowed() -> None:
    TokenVerifier(Options(jwks_public_endpoint="http://keys.example/",
                          insecure_skip_jwks_endpoint_safety_check=True))
