"""The addresses that an engine is given: which servers, and how to log in there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

__all__ = ["DEFAULT_PORT", "Address", "parse_address"]

DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379

_SCHEMES = {
    # scheme: (kind, TLS)
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_FORM = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<login>.*)@)?(?P<place>[^?#@]*)(?:\?(?P<query>[^#]*))?",
    re.DOTALL | re.IGNORECASE,
)
# A host, or an IPv6 address in brackets; a port.
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:/\s]+)(?::([0-9]{1,5}))?")

_TLS_OPTIONS = {
    "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_certfile", "ssl_check_hostname",
    "ssl_ciphers", "ssl_keyfile", "ssl_cert_reqs", "ssl_password",
}
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Address:
    """One parsed address; ``label`` is the address without secrets.

    kind
        ``"server"``, ``"unix"``, ``"sentinel"`` or ``"cluster"``.
    hosts
        Hosts and ports: one of a server, several of sentinels or cluster nodes.
    master
        What the sentinels call the server.
    options
        Keyword arguments of redis-py's connection classes.
    sentinel_options
        The same for connections to sentinels.
    """

    label: str
    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    master: str = ""
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, object] = field(default_factory=dict, repr=False)


def parse_address(text: str) -> Address:
    """The parts of an address; ``ValueError`` names the rule, and shows no secret."""
    if not isinstance(text, str):
        raise TypeError(f"an address must be a str, not {type(text).__name__}")
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(
            "an address must be a URL such as redis://localhost:6379/0; one that has no "
            "such form is not shown, for it may hold a password")
    scheme = form["scheme"].lower()
    place = form["place"]
    label = f"{scheme}://{place}"
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"{label}: the address must begin with one of {known}")
    kind, tls = _SCHEMES[scheme]
    options = _login(form["login"], label)
    query = _query(form["query"] or "", kind, tls, label)
    sentinel_options: dict[str, object] = {}
    for name in _SENTINEL_OPTIONS & query.keys():
        sentinel_options[name.removeprefix("sentinel_")] = query.pop(name)
    for name in ("username", "password"):
        if name in query and name in options:
            raise ValueError(f"{label}: {name} is given twice, before the host and behind the path")
    options.update(query)
    if kind == "unix":
        if not place.startswith("/"):
            raise ValueError(f"{label}: unix:// must be followed by an absolute path")
        return Address(label, kind, tls, path=unquote(place), options=options)

    netloc, _, path = place.partition("/")
    default_port = _SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT
    hosts = tuple(_host(host, default_port, label) for host in netloc.split(","))
    if kind == "server" and len(hosts) > 1:
        raise ValueError(
            f"{label}: a {scheme}:// address has one host; give several addresses for shards")
    master = ""
    if kind == "sentinel":
        master, _, path = path.partition("/")
        master = unquote(master)
        if not master:
            raise ValueError(f"{label}: the path must be the name of the sentinels' master")
    if path:
        if "db" in options:
            raise ValueError(f"{label}: db is given twice, as the path and behind it")
        options["db"] = _database(path, label)
    if kind == "cluster" and options.get("db"):
        raise ValueError(f"{label}: a cluster has only the database 0")
    if tls:
        for choices in (options, sentinel_options):
            _check_certificates(choices, options)
    return Address(
        label, kind, tls, hosts, master=master, options=options,
        sentinel_options=sentinel_options)


def _login(login: str | None, label: str) -> dict[str, object]:
    if not login:
        return {}
    user, _, password = login.partition(":")
    options: dict[str, object] = {}
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    elif user:
        raise ValueError(f"{label}: a user name needs a password, as in redis://user:password@...")
    return options


def _query(text: str, kind: str, tls: bool, label: str) -> dict[str, object]:
    known = {"db", "client_name"}
    if kind == "unix":
        known |= {"username", "password"}
    if kind == "sentinel":
        known |= _SENTINEL_OPTIONS
    if tls:
        known |= _TLS_OPTIONS
    options: dict[str, object] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in known:
            raise ValueError(
                f"{label}: unknown option {name!r}; known are {', '.join(sorted(known))}")
        if name in options:
            raise ValueError(f"{label}: {name} is given twice")
        if name == "db":
            options[name] = _database(value, label)
        elif name == "ssl_check_hostname":
            if value.lower() not in _TRUE | _FALSE:
                raise ValueError(f"{label}: {name} must be true or false, not {value!r}")
            options[name] = value.lower() in _TRUE
        elif name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            raise ValueError(
                f"{label}: {name} must be none, optional or required, not {value!r}")
        else:
            options[name] = value
    return options


def _check_certificates(options: dict[str, object], given: Mapping[str, object]) -> None:
    """Certificates are checked unless the address says otherwise, in every redis-py."""
    options.update({name: given[name] for name in _TLS_OPTIONS & given.keys()})
    options.setdefault("ssl_cert_reqs", "required")
    if options["ssl_cert_reqs"] == "none":
        options["ssl_check_hostname"] = False
    options.setdefault("ssl_check_hostname", True)


def _database(text: str, label: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"{label}: the database must be a number from 0 on, not {text!r}")
    return int(text)


def _host(text: str, default_port: int, label: str) -> tuple[str, int]:
    found = _HOST.fullmatch(unquote(text))
    if found is None:
        raise ValueError(f"{label}: {text!r} must be a host, or host:port")
    host, port = found[1].strip("[]"), int(found[2] or default_port)
    if not 1 <= port <= 65535:
        raise ValueError(f"{label}: a port must be between 1 and 65535, not {port}")
    return host, port
