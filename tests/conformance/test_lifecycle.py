"""Name, start, end, and what may be called when."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ClosedError,
    ControlMessage,
    Engine,
    JoinMessage,
    LeaveMessage,
    Message,
    StreamPosition,
)
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder

KEPT = ChannelOptions(history_size=10, history_lifetime=60)
INFO = ClientInfo(user="u", client="c")

# One good call of every method that returns an awaitable at once ...
IMMEDIATE: dict[str, Callable[[Engine], Awaitable[Any]]] = {
    "publish_message": lambda engine: engine.publish_message("ch", Message("ch", b"1")),
    "publish_join": lambda engine: engine.publish_join("ch", JoinMessage("ch", INFO)),
    "publish_leave": lambda engine: engine.publish_leave("ch", LeaveMessage("ch", INFO)),
    "publish_control": lambda engine: engine.publish_control(ControlMessage("n", "ping")),
    "publish_admin": lambda engine: engine.publish_admin(AdminMessage("note")),
    "subscribe": lambda engine: engine.subscribe("ch"),
    "unsubscribe": lambda engine: engine.unsubscribe("ch"),
}
# ... and of every other one.
COROUTINES: dict[str, Callable[[Engine], Awaitable[Any]]] = {
    "channels": lambda engine: engine.channels(),
    "add_presence": lambda engine: engine.add_presence("ch", "c", INFO),
    "remove_presence": lambda engine: engine.remove_presence("ch", "c"),
    "presence": lambda engine: engine.presence("ch"),
    "presence_stats": lambda engine: engine.presence_stats("ch"),
    "history": lambda engine: engine.history("ch"),
    "history_stream": lambda engine: engine.history_stream("ch", StreamPosition()),
    "remove_history": lambda engine: engine.remove_history("ch"),
}
WITH_HISTORY: dict[str, Callable[[Engine], Awaitable[Any]]] = {
    **IMMEDIATE,
    "publish_message": lambda engine: engine.publish_message("ch", Message("ch", b"1"), KEPT),
}
PUBLISHES = [name for name in IMMEDIATE if name.startswith("publish_")]


def immediate(factory: EngineFactory, method: str) -> Callable[[Engine], Awaitable[Any]]:
    """A good call of ``method``, with history where the engine keeps one."""
    return (WITH_HISTORY if Capability.HISTORY in factory.capabilities else IMMEDIATE)[method]


def in_loop_and_warnings(problems: list[object]) -> warnings.catch_warnings[None]:
    """Collect what the running loop complains of, and warnings while in the context."""
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: problems.append(context))
    return warnings.catch_warnings()


def test_no_method_is_left_out() -> None:
    interface = {
        name for name, value in vars(Engine).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert interface == IMMEDIATE.keys() | COROUTINES.keys() | {"run", "close"}


async def test_is_an_engine(engine: Engine) -> None:
    assert isinstance(engine, Engine)


async def test_has_the_interface_s_signatures(engine: Engine) -> None:
    for name in [*IMMEDIATE, *COROUTINES, "run", "close"]:
        wanted = inspect.signature(getattr(Engine, name)).parameters
        offered = inspect.signature(getattr(engine, name)).parameters
        assert [(p.name, p.default) for p in offered.values()] == [
            (p.name, p.default) for p in list(wanted.values())[1:]
        ], name


async def test_name_is_a_text_before_and_after_run(engine_factory: EngineFactory) -> None:
    engine = await engine_factory.create()
    name = engine.name
    assert type(name) is str
    assert name
    await engine.run(Recorder())
    assert engine.name == name


@pytest.mark.parametrize("method", IMMEDIATE)
async def test_returns_at_once_with_an_awaitable(
    engine_factory: EngineFactory, engine: Engine, method: str
) -> None:
    result = immediate(engine_factory, method)(engine)
    assert isinstance(result, Awaitable)
    await result


@pytest.mark.parametrize("method", [name for name in IMMEDIATE if name != "publish_message"])
async def test_awaited_it_gives_nothing(engine: Engine, method: str) -> None:
    assert await IMMEDIATE[method](engine) is None


@pytest.mark.parametrize("method", ["add_presence", "remove_presence", "remove_history"])
@pytest.mark.requires(Capability.HISTORY | Capability.PRESENCE)
async def test_a_change_gives_nothing(engine: Engine, method: str) -> None:
    assert await COROUTINES[method](engine) is None


@pytest.mark.parametrize("method", IMMEDIATE)
async def test_need_not_be_awaited(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, method: str
) -> None:
    problems: list[object] = []
    with in_loop_and_warnings(problems):
        warnings.simplefilter("error")
        immediate(engine_factory, method)(engine)
        await events.settle(engine)
        gc.collect()
    assert problems == []


@pytest.mark.requires(Capability.FAILURES)
@pytest.mark.parametrize("method", PUBLISHES)
async def test_a_failed_publish_raises_when_awaited(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, method: str
) -> None:
    await engine.subscribe("ch")
    await engine_factory.fail_publishes(engine, events)
    with pytest.raises(ConnectionError):
        await immediate(engine_factory, method)(engine)


@pytest.mark.requires(Capability.FAILURES)
@pytest.mark.parametrize("method", PUBLISHES)
async def test_a_failed_publish_need_not_be_awaited(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, method: str
) -> None:
    await engine.subscribe("ch")
    await engine_factory.fail_publishes(engine, events)
    problems: list[object] = []
    with in_loop_and_warnings(problems):
        warnings.simplefilter("error")
        immediate(engine_factory, method)(engine)
        with pytest.raises(ConnectionError):    # by then the other has failed as well
            await engine.publish_admin(AdminMessage("last"))
        gc.collect()
        await asyncio.sleep(0)      # for a complaint that a finalizer left to the loop
    assert problems == []


@pytest.mark.requires(Capability.FAILURES)
@pytest.mark.parametrize("method", PUBLISHES)
async def test_a_failed_publish_is_counted_though_nobody_looks(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, method: str
) -> None:
    await engine.subscribe("ch")
    before = engine.num_failed
    await engine_factory.fail_publishes(engine, events)
    IMMEDIATE[method](engine)
    with pytest.raises(ConnectionError):    # by then the other has failed as well
        await engine.publish_admin(AdminMessage("last"))
    assert engine.num_failed >= before + 2


@pytest.mark.requires(Capability.FAILURES)
async def test_a_failure_is_raised_however_late_it_is_asked_for(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    await engine_factory.fail_publishes(engine, events)
    early = engine.publish_message("ch", Message("ch", b"1"))
    with pytest.raises(ConnectionError):
        await engine.publish_admin(AdminMessage("last"))
    with pytest.raises(ConnectionError):
        await early


async def test_may_be_awaited_late_and_out_of_order(engine: Engine, events: Recorder) -> None:
    first = engine.subscribe("ch")
    second = engine.publish_message("ch", Message("ch", b"1"))
    third = engine.publish_admin(AdminMessage("note"))
    await events.settle(engine)
    assert await third is None
    assert await second == StreamPosition(0, "")
    assert await first is None


async def test_may_be_awaited_in_another_task(engine: Engine) -> None:
    async def wait(result: Awaitable[StreamPosition]) -> StreamPosition:
        return await result

    result = engine.publish_message("ch", Message("ch", b"1"))
    assert await asyncio.create_task(wait(result)) == StreamPosition(0, "")


async def test_may_be_gathered(engine: Engine) -> None:
    results = await asyncio.gather(
        *(engine.publish_message("ch", Message("ch", b"1")) for _ in range(5)))
    assert results == [StreamPosition(0, "")] * 5


@pytest.mark.parametrize("method", IMMEDIATE)
async def test_before_run_the_call_itself_raises(
    engine_factory: EngineFactory, method: str
) -> None:
    engine = await engine_factory.create()
    with pytest.raises(ClosedError):
        immediate(engine_factory, method)(engine)


@pytest.mark.parametrize("method", COROUTINES)
async def test_before_run_raises(engine_factory: EngineFactory, method: str) -> None:
    engine = await engine_factory.create()
    with pytest.raises(ClosedError):
        await COROUTINES[method](engine)


@pytest.mark.parametrize("method", IMMEDIATE)
async def test_after_close_the_call_itself_raises(
    engine_factory: EngineFactory, engine: Engine, method: str
) -> None:
    await engine.close()
    with pytest.raises(ClosedError):
        immediate(engine_factory, method)(engine)


@pytest.mark.parametrize("method", COROUTINES)
async def test_after_close_raises(engine: Engine, method: str) -> None:
    await engine.close()
    with pytest.raises(ClosedError):
        await COROUTINES[method](engine)


async def test_closing_twice_is_allowed(engine: Engine) -> None:
    await engine.close()
    await engine.close()


async def test_close_ends_every_task(engine_factory: EngineFactory) -> None:
    tasks = asyncio.all_tasks()
    engine = await engine_factory.create()
    await engine.run(Recorder())
    await engine.subscribe("ch")
    await engine.publish_message("ch", Message("ch", b"1"))
    await engine.close()
    assert asyncio.all_tasks() == tasks


@pytest.mark.requires(Capability.HISTORY | Capability.PRESENCE | Capability.OWN_STORAGE)
async def test_close_gives_everything_back(engine_factory: EngineFactory) -> None:
    tasks = asyncio.all_tasks()
    events = Recorder()
    engine = await engine_factory.create()
    await engine.run(events)
    await engine.subscribe("ch")
    await engine.publish_message("ch", Message("ch", b"1"), KEPT)
    await engine.add_presence("ch", "c", INFO)
    assert engine_factory.num_stored(engine) == 2
    await engine.close()
    assert engine_factory.num_stored(engine) == 0
    assert asyncio.all_tasks() == tasks


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_nothing_arrives_after_close(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    others = Recorder()
    other = await engine_factory.create()
    await other.run(others)
    for node in (engine, other):
        await node.subscribe("ch")
    await engine.close()
    await other.publish_message("ch", Message("ch", b"1"))
    await other.publish_control(ControlMessage("n", "ping"))
    await others.wait(2)
    assert events.arrived == []
