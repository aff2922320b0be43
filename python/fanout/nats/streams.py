"""The JetStream streams of one system: created by the first node, checked by all."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fanout.errors import EngineUnavailableError, UnsupportedError
from fanout.nats.api import NO_STREAM, ApiError, Behind, JetStreamApi, NotReady
from fanout.nats.clock import ServerClock, parse_time

__all__ = ["SENT", "Streams", "check_server"]

T = TypeVar("T")

_LIFE = "fanout-life"
_NAME_IN_USE = 10058
_SHORTEST_WINDOW = 0.1      # seconds: the server takes no less

SENT = "sent"
"""The end of the subject of a result that is the message itself."""
_NOT_ENABLED = (10039, 10076)


class Streams:
    """Two streams: of messages, and of who is present.

    Each message of a channel's history has a subject of its own, of which one
    message is kept: a ring of them, where the next message takes the place of
    the one that is not kept any more. What is stored is published again by the
    server, to the channel's subject.

    A third one is of what publishes with an idempotency key came to, and made
    when there is the first. What is published with such a key and not kept as
    history is stored there, and published again in the same way; what is kept,
    the server knows by its key as long as the third stream does.

    The subjects of the history have a random token in them, the stream's
    ``life``. Who remembers where a channel is cannot write to another stream of
    the same name, where that would be wrong.

    replicas
        How many servers keep the streams, when this engine is the one to
        create them.
    result_lifetime
        Seconds for which a key is known; of all nodes the same.
    """

    def __init__(
        self, prefix: str, replicas: int, result_lifetime: float, api: JetStreamApi,
        clock: ServerClock,
    ) -> None:
        self.history = f"{prefix}_history"
        self.presence = f"{prefix}_presence"
        self.results = f"{prefix}_results"
        self.life = ""
        self.replicated = False
        """Other servers than the one that stores may answer a read, a little late."""
        self._prefix = prefix
        self._replicas = replicas
        self.api = api
        self.answered = False
        """Something there has answered, be it with an error."""
        self._clock = clock
        self.result_lifetime = result_lifetime
        self.on_lost: Callable[[], object] = lambda: None
        """Called when one of them was found to be gone."""
        self._checked = False
        self._results_checked = False
        self._lock = asyncio.Lock()

    def recheck(self) -> None:
        """They may not be there any more, or be others."""
        self._checked = self._results_checked = False

    async def again(
        self, work: Callable[[float], Awaitable[T]], until: float, *, changes: bool
    ) -> T:
        """As that of the interface, with streams that are there, or are made again."""

        async def ready(until: float) -> T:
            await self.ready(until)
            try:
                return await work(until)
            except Behind:
                raise
            except NotReady:
                self._lost()
                raise
            except ApiError as error:
                if error.code != NO_STREAM:
                    raise
                self._lost()
                raise NotReady from None

        return await self.api.again(ready, until, changes=changes)

    def _lost(self) -> None:
        self.recheck()
        self.on_lost()

    async def ready(self, until: float) -> None:
        """Both are there."""
        if self._checked:
            return
        async with asyncio.timeout_at(until), self._lock:
            if self._checked:
                return
            life = secrets.token_hex(4)
            config = await self._get_or_create(
                self.history, f"{self._prefix}.history.{life}.>", {
                    "republish": {
                        "src": f"{self._prefix}.history.{life}.*.*",
                        "dest": f"{self._prefix}.client.{{{{split(1,|)}}}}",
                    },
                    "metadata": {_LIFE: life},
                }, until)
            self.life = config.get("metadata", {}).get(_LIFE, "")
            self._check(config, f"{self._prefix}.history.{self.life}.>", {
                "src": f"{self._prefix}.history.{self.life}.*.*",
                "dest": f"{self._prefix}.client.{{{{split(1,|)}}}}",
            })
            replicated = config.get("num_replicas", 1) > 1
            subject = f"{self._prefix}.presence.>"
            config = await self._get_or_create(self.presence, subject, {}, until)
            self._check(config, subject, None)
            self.replicated = replicated or config.get("num_replicas", 1) > 1
            self._checked = True

    async def results_ready(self, until: float) -> None:
        """So is the third; the other two are."""
        if self._results_checked:
            return
        async with asyncio.timeout_at(until), self._lock:
            if self._results_checked:
                return
            subject = f"{self._prefix}.results.>"
            republish = {
                "src": f"{self._prefix}.results.*.*.{SENT}",
                "dest": f"{self._prefix}.client.{{{{split(1,|)}}}}",
            }
            config = await self._get_or_create(
                self.results, subject, {"republish": republish}, until)
            self._check(config, subject, republish)
            config = (await self._info(self.history, until))["config"]
            window = round(max(self.result_lifetime, _SHORTEST_WINDOW) * 1e9)
            if config.get("duplicate_window") != window:
                await self.api.call(
                    f"STREAM.UPDATE.{self.history}", {**config, "duplicate_window": window}, until)
            self._results_checked = True

    async def set_clock(self, until: float) -> None:
        await self._info(self.history, until)

    async def _info(self, stream: str, until: float) -> dict[str, Any]:
        asked = time.monotonic()
        info = await self.api.call(f"STREAM.INFO.{stream}", None, until)
        self.answered = True
        self._clock.set(asked, time.monotonic(), parse_time(info["ts"]))
        return info

    async def _get_or_create(
        self, stream: str, subject: str, special: dict[str, object], until: float
    ) -> dict[str, Any]:
        while True:
            try:
                config: dict[str, Any] = (await self._info(stream, until))["config"]
                return config
            except ApiError as error:
                self.answered = True
                if error.code != NO_STREAM:
                    raise
            try:
                await self.api.call(f"STREAM.CREATE.{stream}", {
                    "name": stream,
                    "subjects": [subject],
                    "retention": "limits",
                    "discard": "old",
                    "storage": "file",
                    "num_replicas": self._replicas,
                    "max_msgs_per_subject": 1,
                    "allow_direct": True,
                    "allow_msg_ttl": True,
                    **special,
                }, until)
            except ApiError as error:
                # Another node was faster.
                if error.code != _NAME_IN_USE:
                    raise

    def _check(
        self, config: dict[str, Any], subject: str, republish: dict[str, str] | None
    ) -> None:
        wanted = {
            "subjects": [subject],
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "allow_msg_ttl": True,
            "max_age": 0,
            "republish": republish,
        }
        for name, value in wanted.items():
            if config.get(name) != value:
                raise UnsupportedError(
                    f"the JetStream stream {config['name']!r} is not as fanout made it: "
                    f"{name} is {config.get(name)!r}, and must be {value!r}")


async def check_server(version: tuple[int, int], label: str, streams: Streams) -> None:
    """Whether the server can do what is needed.

    Raises :exc:`fanout.UnsupportedError` if not, and what the server's other
    errors come to.
    """
    if version < (2, 11):
        raise UnsupportedError(
            f"{label}: history and presence need nats-server 2.11 or later, "
            f"this one is {version[0]}.{version[1]}")
    missing = UnsupportedError(
        f"{label}: JetStream is not enabled (nats-server -js), or not for this account")
    api = streams.api

    async def attempt(until: float) -> None:
        try:
            await streams.ready(until)
        except ApiError as error:
            if error.code in _NOT_ENABLED:
                raise missing from None
            raise

    try:
        await api.again(attempt, api.deadline, changes=False)
    except EngineUnavailableError:
        if streams.answered:
            raise
        raise missing from None
