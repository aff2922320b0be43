"""Fields that are null, as many languages write what they do not have."""

from __future__ import annotations

import pytest

from fanout.server.protocol import JSON, UNI_JSON
from fanout.server.protocol.json import LONGEST_WITH_NULLS
from tests.server.conftest import OPEN
from tests.server.running import serving


@pytest.mark.parametrize(("with_nulls", "without"), [
    ('{"id":1,"connect":{"token":null,"name":null,"headers":null}}', '{"id":1,"connect":{}}'),
    ('{ "id" : 1 , "connect" : { "token" : null , "version" : "2" } }',
     '{"id":1,"connect":{"version":"2"}}'),
    ('{"id":1,"connect":{"subs":{"a":{"epoch":null,"offset":3}}}}',
     '{"id":1,"connect":{"subs":{"a":{"offset":3}}}}'),
    ('{"id":1,"subscribe":{"channel":"a","token":null,"recover":null,"tf":null}}',
     '{"id":1,"subscribe":{"channel":"a"}}'),
    ('{"id":1,"history":{"channel":"a","limit":null,"since":{"offset":5,"epoch":null}}}',
     '{"id":1,"history":{"channel":"a","since":{"offset":5}}}'),
    ('{"id":null}', "{}"),
    ('{"id":1,"rpc":{"method":null,"data":[null, 1.0]}}', '{"id":1,"rpc":{"data":[null, 1.0]}}'),
    ('{"id":1,"rpc":{"method":null,"data":null}}', '{"id":1,"rpc":{"data":null}}'),
    (r'{"id":1,"rpc":{"method":null,"data":"\ud800"}}', r'{"id":1,"rpc":{"data":"\ud800"}}'),
    ('{"id":1,"connect":{}}\n{"id":2,"refresh":{"token":null}}\n',
     '{"id":1,"connect":{}}\n{"id":2,"refresh":{}}'),
])
def test_a_field_that_is_null_is_not_there(with_nulls: str, without: str) -> None:
    assert JSON.decode_commands(with_nulls.encode()) == JSON.decode_commands(without.encode())


def test_a_connect_request_alone() -> None:
    assert UNI_JSON.decode_connect(b'{"token":null,"name":"a"}') == UNI_JSON.decode_connect(
        b'{"name":"a"}')


@pytest.mark.parametrize("frame", [
    b"null",
    b'{"id":1,"connect":{"token":nul}}',
    b'{"id":1,"connect":{"token":null}',
    b'{"id":1,"connect":{"token":null,"name":5}}',
    b'{"id":1,"connect":{"token":null,"subs":[]}}',
    b'{"id":1,"connect":5,"rpc":{"method":null}}',
    b'{"id":1,"subscribe":{"channel":"a","tf":{"key":"a","cmp":"in","vals":[null]}}}',
    b'{"id":1,"connect":{"token":null}}'.ljust(LONGEST_WITH_NULLS + 1),
    b'{"id":1,"subscribe":{"token":null,"tf":' + b'{"nodes":[' * 6000 + b"null",
])
def test_what_stays_refused(frame: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        JSON.decode_commands(frame)


@pytest.mark.parametrize("data", [b"", b"{}{}", b"null"])
def test_one_connect_request(data: bytes) -> None:
    with pytest.raises(ValueError):
        UNI_JSON.decode_connect(data)


async def test_a_client_that_writes_nulls() -> None:
    async with serving(OPEN) as server, await server.peer() as peer:
        reply = await peer.call(connect={"token": None, "data": None, "name": None})
        assert reply["connect"]["client"]
        assert await peer.call(subscribe={"channel": "a", "token": None, "epoch": None}) == {
            "subscribe": {}}
