"""TLS, users with few rights, databases, sockets, and that no secret is shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    EngineError,
    Message,
    RedisEngine,
)
from tests.brokers.recorder import Told
from tests.brokers.tls import Certificates
from tests.brokers.valkey import ValkeyServer, redis_binary
from tests.redis.conftest import MakeEngine, NewEngine

KEPT = ChannelOptions(history_size=10, history_lifetime=600)
SECRET = "p:a@s/s?w#o%rd"
QUOTED = "p%3Aa%40s%2Fs%3Fw%23o%25rd"


async def works(engine: RedisEngine, told: Told) -> None:
    """Everything that an engine does, once."""
    await engine.subscribe("ch")
    assert (await engine.publish_message("ch", Message("ch", b"1"), KEPT)).offset == 1
    await engine.publish_message("ch", Message("ch", b"2"))
    await told.until(lambda: told.data == [b"1", b"2"])
    assert len(await engine.history("ch")) == 1
    assert (await engine.history_stream("ch")).position.offset == 1
    await engine.add_presence("ch", "c", ClientInfo("u", "c"))
    assert list(await engine.presence("ch")) == ["c"]
    assert (await engine.presence_stats("ch")).num_users == 1
    await engine.remove_presence("ch", "c")
    await engine.remove_history("ch")
    assert await engine.channels() == ["ch"]
    await told.settle(engine)
    await engine.unsubscribe("ch")


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    binary = redis_binary()
    if binary is None:
        pytest.skip("Debian's redis-server, the one that speaks TLS, is not installed")
    with ValkeyServer(binary, tls=Certificates(tmp_path), password=SECRET) as server:
        yield server


async def test_tls(make_engine: MakeEngine, tls_server: ValkeyServer) -> None:
    url = f"rediss://:{QUOTED}@127.0.0.1:{tls_server.port}/0?ssl_ca_certs={tls_server.tls.ca}"
    engine, told = await make_engine(url)
    await works(engine, told)
    tls_server.client().client_kill_filter(_type="pubsub")
    await told.restored()
    tls_server.client().flushall()
    told.arrived.clear()
    await works(engine, told)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    make_engine: MakeEngine, tls_server: ValkeyServer
) -> None:
    url = f"rediss://:{QUOTED}@127.0.0.1:{tls_server.port}"
    with pytest.raises(OSError, match=r"(?i)certificate"):
        await make_engine(url, timeout=0.5)
    engine, told = await make_engine(f"{url}?ssl_cert_reqs=none")
    await works(engine, told)


async def test_a_user_with_no_more_rights_than_needed(
    make_engine: MakeEngine, prefix: str
) -> None:
    """Those that the documentation names; the user may not even ask for the role."""
    rule = (
        f"alice on >{SECRET} resetchannels ~{prefix}.* &{prefix}.* -@all +ping +subscribe "
        "+unsubscribe +publish +pubsub|channels +pubsub|numsub +eval +unlink +hmget +hset +hincrby "
        "+del +exists +xadd +xlen +xrange +rpush +ltrim +llen +lrange +pexpire +pttl +hget +hdel "
        "+hgetall +hlen +zadd +zrem +zrangebyscore +time"
    )
    with ValkeyServer(acl=[rule]) as server:
        engine, told = await make_engine(f"redis://alice:{QUOTED}@127.0.0.1:{server.port}")
        await works(engine, told)


async def test_a_channel_that_is_forbidden_is_refused_alone(
    make_engine: MakeEngine, prefix: str
) -> None:
    rule = f"alice on >{SECRET} +@all ~* resetchannels &{prefix}.control &{prefix}.admin " \
           f"&{prefix}.client.ok*"
    with ValkeyServer(acl=[rule]) as server:
        engine, told = await make_engine(f"redis://alice:{QUOTED}@127.0.0.1:{server.port}")
        names = [f"ok{number}" for number in range(20)]
        names[7:7] = ["forbidden"]
        results = await asyncio.gather(
            *[engine.subscribe(name) for name in names], return_exceptions=True)
        assert [name for name, result in zip(names, results, strict=True) if result] == [
            "forbidden"]
        assert isinstance(results[7], EngineError)
        assert "NOPERM" in str(results[7])
        assert sorted(await engine.channels()) == sorted(set(names) - {"forbidden"})
        with pytest.raises(EngineError, match="NOPERM"):
            await engine.publish_message("forbidden", Message("forbidden", b"1"))
        server.client().client_kill_filter(_type="pubsub")
        assert await told.restored() == [set(names) - {"forbidden"}]


@pytest.mark.parametrize("login", ["", ":wrong@", "alice:wrong@", f"bob:{QUOTED}@"])
async def test_a_login_that_is_refused_ends_run_at_once(new_engine: NewEngine, login: str) -> None:
    with ValkeyServer(password=SECRET, acl=[f"alice on >{SECRET} +@all ~* &*"]) as server:
        engine = new_engine(f"redis://{login}127.0.0.1:{server.port}", timeout=1000)
        with pytest.raises(EngineError) as caught:
            await engine.run(Told())
        assert str(server.port) in str(caught.value)
        assert "wrong" not in str(caught.value)
        await engine.close()


async def test_a_database_of_its_own(make_engine: MakeEngine, server: ValkeyServer) -> None:
    engine, told = await make_engine(f"redis://127.0.0.1:{server.port}/3")
    await works(engine, told)
    await engine.publish_message("ch", Message("ch", b"1"), KEPT)
    keyspace = server.client().info("keyspace")
    assert {name: counts["keys"] for name, counts in keyspace.items()} == {"db3": 2}


async def test_a_unix_socket(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ValkeyServer(arguments=("--unixsocket", str(path)), password=SECRET) as server:
        engine, told = await make_engine(f"unix://:{QUOTED}@{path}?db=1&client_name=node-1")
        await works(engine, told)
        clients = server.client().client_list()
        assert [each["db"] for each in clients if each["name"] == "node-1"] == ["1", "1"]


async def test_no_secret_is_shown(
    own_server: ValkeyServer, new_engine: NewEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    own_server.client().config_set("requirepass", SECRET)
    engine = new_engine(f"redis://:{QUOTED}@127.0.0.1:{own_server.port}", timeout=0.2)
    told = Told()
    await engine.run(told)
    shown = [engine.name, repr(engine), repr(engine._addresses)]
    own_server.stop()
    await told.lost()
    for result in (engine.publish_message("ch", Message("ch", b"1")), engine.subscribe("ch")):
        with pytest.raises(ConnectionError) as caught:
            await result
        shown += [str(caught.value), repr(caught.value)]
    shown += [str(error) for error in told.errors]
    await engine.close()
    shown.append(caplog.text)
    assert not [text for text in shown if SECRET in text or QUOTED in text]
