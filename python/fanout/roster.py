"""The clients connected to a node: by connection, by user, by session."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanout import codes

if TYPE_CHECKING:
    from fanout.client import Client

__all__ = ["Roster", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom something is done to: a user's connections, or one connection.

    ``client`` is a connection id and ``session`` a connection's secret id;
    with ``user`` beside them the connection must be this user's. Anonymous
    connections have no user to be named by: for them name one of the others.
    """

    user: str = ""
    client: str = ""
    session: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for what in ("user", "client", "session"):
            value = getattr(self, what)
            if type(value) is not str:
                raise TypeError(f"{what} must be a str, not {value!r}")
        if not (self.user or self.client or self.session):
            raise ValueError("name a user, a client or a session")


class Roster:
    """Who is connected here."""

    def __init__(self, user_limit: int) -> None:
        self._user_limit = user_limit
        self.clients: dict[str, Client] = {}
        self._users: dict[str, set[Client]] = {}
        self._sessions: dict[str, Client] = {}

    @property
    def num_users(self) -> int:
        return len(self._users)

    def of_user(self, user: str) -> tuple[Client, ...]:
        return tuple(self._users.get(user, ()))

    def enter(self, client: Client) -> None:
        """Raises :exc:`fanout.Disconnect` when the user has too many connections already."""
        if client.user:
            others = self._users.get(client.user, ())
            if self._user_limit and len(others) >= self._user_limit:
                raise codes.DISCONNECT_CONNECTION_LIMIT()
            self._users.setdefault(client.user, set()).add(client)
        self.clients[client.id] = client
        if client.session:
            self._sessions[client.session] = client

    def exit(self, client: Client) -> None:
        self.clients.pop(client.id, None)
        if client.session:
            self._sessions.pop(client.session, None)
        others = self._users.get(client.user)
        if others is not None:
            others.discard(client)
            if not others:
                del self._users[client.user]

    def matching(self, target: Target, keep: Collection[str] = ()) -> list[Client]:
        """The connections of a target that are here, without those with an id in ``keep``."""
        found: Collection[Client | None]
        if target.client:
            found = (self.clients.get(target.client),)
        elif target.session:
            found = (self._sessions.get(target.session),)
        else:
            found = self._users.get(target.user, ())
        return [
            client for client in found
            if client is not None
            and target.user in ("", client.user)
            and target.session in ("", client.session)
            and client.id not in keep
        ]
