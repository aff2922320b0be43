"""Tokens. The first byte: above 0x7F the token itself, else what is signed into one."""

from __future__ import annotations

from fanout.server.tokens import TokenError, TokenVerifier
from tests.fuzz.harness import quiet
from tests.server.tokens.support import NOW, SECRET, Options, signed

MAX_LEN = 4096
MOST_TEXT = 2000        # characters of an error, whatever is in the token

_keys = TokenVerifier(
    Options(hmac_secret_key=SECRET, user_id_claim="uid", audience="a"), clock=lambda: NOW)
_anybodys = TokenVerifier(
    Options(issuer_regex="^a(b|c)*$"), skip_signature=True, clock=lambda: NOW)


def run(data: bytes) -> None:
    rest = data[1:]
    texts = [rest.decode("latin-1")] if data[:1] > b"\x7f" else [signed(rest)]
    header, newline, payload = rest.partition(b"\n")
    if newline:
        texts.append(signed(payload, header))
    with quiet():
        for text in texts:
            for verifier in (_keys, _anybodys):
                for read in (verifier.connection, verifier.subscription):
                    try:
                        assert read(text) is not None
                    except TokenError as error:
                        assert len(str(error)) < MOST_TEXT
                        assert error.__cause__ is None
