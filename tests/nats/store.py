"""What JetStream holds, looked at with nats-py alone."""

from __future__ import annotations

import nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

__all__ = ["count_results", "count_stored", "remove_streams"]


async def count_stored(url: str, prefix: str) -> int:
    """Messages of histories and entries of presence in the streams of a prefix."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        messages = await _subjects(stream, f"{prefix}_history", f"{prefix}.history.*.*.*")
        count = len(messages)
        for subject in await _subjects(stream, f"{prefix}_presence", f"{prefix}.presence.>"):
            try:
                entry = await stream.get_last_msg(f"{prefix}_presence", subject, direct=True)
            except NotFoundError:
                continue
            # What takes the place of an entry that was removed is empty.
            count += bool(entry.data)
        return count
    finally:
        await client.close()


async def count_results(url: str, prefix: str) -> int:
    """What is remembered of publishes with an idempotency key."""
    client = await nats.connect(url)
    try:
        return len(await _subjects(
            client.jetstream(), f"{prefix}_results", f"{prefix}.results.>"))
    except NotFoundError:
        return 0        # there was none yet
    finally:
        await client.close()


async def _subjects(stream: JetStreamContext, name: str, which: str) -> list[str]:
    info = await stream.stream_info(name, subjects_filter=which)
    return list(info.state.subjects or ())


async def remove_streams(url: str, prefix: str) -> None:
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        for name in (f"{prefix}_history", f"{prefix}_presence", f"{prefix}_results"):
            try:
                await stream.delete_stream(name)
            except NotFoundError:
                continue
    finally:
        await client.close()
