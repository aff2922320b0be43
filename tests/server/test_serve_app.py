"""``fanout serve --app``: the application's handlers in the ready server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.server.application import ApplicationError, load_application
from tests.process import ServerProcess
from tests.server.test_embedding import peer_at

MODULE = '''
import asyncio
import contextlib
import fanout

def setup(node):
    node.on_connect(lambda event: fanout.ConnectReply(user=event.token))
    node.on_subscribe(lambda client, event: None)

async def prepare(node):
    await asyncio.sleep(0)
    setup(node)

@contextlib.asynccontextmanager
async def live(node):
    setup(node)
    await node.publish("news", b"1")
    print("the application runs", flush=True)
    yield
    await node.publish("news", b"2")
    print("the application ends", flush=True)

class Chat:
    node = fanout.Node(name="of the application")

setup(Chat.node)
'''


@pytest.mark.parametrize("name", ["setup", "prepare", "live", "Chat.node"])
async def test_serve_with_an_application(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chatting.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    process = ServerProcess("--app", f"chatting:{name}")
    await asyncio.to_thread(process.start)
    try:
        async with await peer_at(process.port) as peer:
            assert "connect" in await peer.call(connect={"token": "ada"})
            # The rest is the configuration's, or its own node's.
            code, _ = await peer.error(publish={"channel": "news", "data": 1})
            assert code == 103
            assert "subscribe" in await peer.call(subscribe={"channel": "news"})
    finally:
        assert await asyncio.to_thread(process.stop) == 0
    text = "".join(process.log)
    assert "ERROR" not in text and "Traceback" not in text
    assert "nobody can connect" not in text
    assert ("the application runs" in text) == ("the application ends" in text) == (name == "live")


def test_an_application_that_leaves_the_connect_to_a_closed_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chatting.py").write_text("def setup(node): node.on_rpc(lambda *_: None)")
    monkeypatch.chdir(tmp_path)
    with ServerProcess("--app", "chatting:setup") as process:
        pass
    assert "nobody can connect" in "".join(process.log)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken", "'broken' must be module:attribute, such as chat:setup"),
        (":setup", "':setup' must be module:attribute"),
        ("no_such_module:setup", "there is no module 'no_such_module', in "),
        ("no_such.module:setup", "there is no module 'no_such', in "),
        ("broken:setup", r"module 'broken' raised NameError: name 'x' is not defined "
                         r"\(.*broken.py:2\)"),
        ("needy:setup", "module 'needy' raised ModuleNotFoundError: No module named 'not_there'"),
        ("fine:setup", "module 'fine' has no attribute 'setup'"),
        ("fine:NUMBER", "fine:NUMBER must be a function or a Node, not a int"),
    ],
)
def test_what_cannot_be_loaded(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("\nx")
    (tmp_path / "needy.py").write_text("import not_there")
    (tmp_path / "fine.py").write_text("NUMBER = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for module in ("broken", "needy", "fine"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ApplicationError, match=text):
        load_application(name)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("def setup(node): raise RuntimeError('first\\nsecond')",
         "chatting:setup raised RuntimeError: first second ("),
        ("def setup(): pass", "chatting:setup raised TypeError: setup() takes 0 positional"),
        ("def setup(node): return 3",
         "chatting:setup must return None or an asynchronous context manager, not a int"),
        ("import contextlib\n@contextlib.asynccontextmanager\n"
         "async def setup(node):\n raise OSError('gone')\n yield",
         "chatting:setup raised OSError: gone ("),
        ("def setup(node): node.on_connect(3)", "chatting:setup raised TypeError: a handler must"),
    ],
)
def test_an_application_that_fails_ends_the_server_with_one_line(
    code: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "chatting.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "fanout", "serve", "--port", "0", "--log-level", "error",
         "--app", "chatting:setup"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fanout: --app: {text}"), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_demo_and_an_application_s_node(tmp_path: Path) -> None:
    (tmp_path / "chatting.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "fanout", "serve", "--demo", "--app", "chatting:Chat.node"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "fanout: --demo needs the configuration's node, and --app names one\n")
