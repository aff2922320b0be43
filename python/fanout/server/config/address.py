"""Addresses of an engine's servers: which engine they are for, and how they are shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

__all__ = [
    "ENGINES",
    "engine_addresses",
    "jetstream_url",
    "masked",
    "nats_urls",
    "redis_addresses",
    "split",
]

ENGINES = ("memory", "redis", "nats")

_REDIS = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_NATS = ("nats", "tls")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# A comma may also stand between the hosts of one URL, and inside a password.
_BETWEEN = re.compile(rf",\s*(?={_SCHEME.pattern})")
_HIDDEN = re.compile(rf"(?P<scheme>{_SCHEME.pattern})?(?P<login>.*@)?(?P<place>[^?#]*)(?P<rest>.*)",
                     re.DOTALL)


def masked(url: str) -> str:
    """``url`` without what could be a secret: who logs in, and what follows the path."""
    found = _HIDDEN.fullmatch(url)
    assert found is not None  # every part of the pattern may be empty
    login = "***@" if found["login"] else ""
    rest = "?***" if found["rest"] else ""
    return f"{found['scheme'] or ''}{login}{found['place']}{rest}"


def split(text: str) -> tuple[str, ...]:
    """The addresses in ``text``: URLs, or hosts without a scheme, with commas between them."""
    pieces = _BETWEEN.split(text)[::2] if _SCHEME.match(text) else text.split(",")
    return tuple(piece.strip() for piece in pieces)


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def redis_addresses(value: object) -> tuple[str, ...]:
    """URLs of Redis servers; one without a scheme is a host and port."""
    return tuple(
        _checked(url if _scheme(url) else f"redis://{url}", _REDIS) for url in _listed(value)
    )


def nats_urls(value: object) -> tuple[str, ...]:
    """URLs of NATS servers; one without a scheme is a host and port."""
    urls = tuple(
        _checked(url if _scheme(url) else f"nats://{url}", _NATS) for url in _listed(value)
    )
    for url in urls:
        jetstream_url(url)
    return urls


def jetstream_url(url: str) -> tuple[str, bool]:
    """A NATS server's URL without its query, and whether that asks for JetStream."""
    plain, asks, query = url.partition("?")
    if not asks:
        return url, False
    wanted = parse_qsl(query, keep_blank_values=True)
    if wanted not in ([("jetstream", "true")], [("jetstream", "false")]):
        raise ValueError('may only have "jetstream=true" or "jetstream=false" behind "?"')
    return plain, wanted[0][1] == "true"


def engine_addresses(values: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What ``--engine`` names: a type of :data:`ENGINES`, and addresses.

    Raises ``ValueError`` with the rule that is broken and the value, as far as
    it may be shown.
    """
    urls = tuple(url for value in values for url in split(value))
    kinds = {_kind(url) for url in urls}
    if len(kinds) > 1:
        raise ValueError(f"must be addresses of one engine, not of {' and '.join(sorted(kinds))}")
    (kind,) = kinds
    if kind == "memory":
        return kind, ()
    return kind, redis_addresses(list(urls)) if kind == "redis" else nats_urls(list(urls))


def _kind(url: str) -> str:
    scheme = _scheme(url)
    if url == "memory":
        return "memory"
    if scheme in _REDIS:
        return "redis"
    if scheme in _NATS:
        return "nats"
    schemes = ", ".join(f"{name}://" for name in (*_REDIS, *_NATS))
    raise ValueError(f"must be memory, or begin with one of {schemes}, not {masked(url)!r}")


def _listed(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        urls = split(value)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        urls = tuple(url for item in value for url in split(item))
    else:
        raise ValueError("must be an address or a list of addresses")
    if not all(urls) or not urls:
        raise ValueError("must name at least one address, and none that is empty")
    return urls


def _checked(url: str, schemes: tuple[str, ...]) -> str:
    if _scheme(url) not in schemes:
        known = ", ".join(f"{name}://" for name in schemes)
        raise ValueError(f"must begin with one of {known}, not {masked(url)!r}")
    if not url.isprintable() or " " in url:
        raise ValueError("must have no spaces and no control characters (in a password: %XX)")
    return url
