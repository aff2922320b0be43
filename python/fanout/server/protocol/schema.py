"""The messages' fields in Protobuf, and their translation into the structs and back.

Google's library reads and writes the bytes; its message classes are made here
from the table, so that no generated code has to fit the library's version.
What the core encodes itself (publications, client infos) is ``bytes`` here: on
the wire a message inside of another is nothing else.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as PBMessage
from msgspec import Raw, Struct

from fanout.server.protocol import messages as wire

__all__ = ["from_protobuf", "make", "to_protobuf"]

_Field = descriptor_pb2.FieldDescriptorProto

TYPES = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}

# Struct -> field -> number and type: a scalar, a struct, a list of one of them
# (repeated) or a dict (a map from strings).
Kind = str | type[Struct] | list[Any] | dict[str, Any]

SCHEMA: dict[type[Struct], dict[str, tuple[int, Kind]]] = {
    wire.FilterNode: {
        "op": (1, "string"), "key": (2, "string"), "cmp": (3, "string"), "val": (4, "string"),
        "vals": (5, ["string"]), "nodes": (6, [wire.FilterNode]),
    },
    wire.SubscribeRequest: {
        "channel": (1, "string"), "token": (2, "string"), "recover": (3, "bool"),
        "epoch": (6, "string"), "offset": (7, "uint64"), "data": (8, "bytes"),
        "positioned": (9, "bool"), "recoverable": (10, "bool"), "join_leave": (11, "bool"),
        "delta": (12, "string"), "tf": (13, wire.FilterNode), "flag": (14, "int64"),
        "type": (15, "int32"),
    },
    wire.ConnectRequest: {
        "token": (1, "string"), "data": (2, "bytes"),
        "subs": (3, {"": wire.SubscribeRequest}), "name": (4, "string"),
        "version": (5, "string"), "headers": (6, {"": "string"}),
    },
    wire.ChannelRequest: {"channel": (1, "string")},
    wire.PublishRequest: {"channel": (1, "string"), "data": (2, "bytes"), "type": (3, "int32")},
    wire.Position: {"offset": (1, "uint64"), "epoch": (2, "string")},
    wire.HistoryRequest: {
        "channel": (1, "string"), "limit": (7, "int32"), "since": (8, wire.Position),
        "reverse": (9, "bool"),
    },
    wire.DataRequest: {"data": (1, "bytes")},
    wire.RPCRequest: {"data": (1, "bytes"), "method": (2, "string")},
    wire.RefreshRequest: {"token": (1, "string")},
    wire.SubRefreshRequest: {
        "channel": (1, "string"), "token": (2, "string"), "type": (3, "int32")},
    wire.AnyRequest: {},
    wire.Command: {
        "id": (1, "uint32"), "connect": (4, wire.ConnectRequest),
        "subscribe": (5, wire.SubscribeRequest), "unsubscribe": (6, wire.ChannelRequest),
        "publish": (7, wire.PublishRequest), "presence": (8, wire.ChannelRequest),
        "presence_stats": (9, wire.ChannelRequest), "history": (10, wire.HistoryRequest),
        "ping": (11, wire.AnyRequest), "send": (12, wire.DataRequest),
        "rpc": (13, wire.RPCRequest), "refresh": (14, wire.RefreshRequest),
        "sub_refresh": (15, wire.SubRefreshRequest),
    },
    wire.EmulationRequest: {
        "node": (1, "string"), "session": (2, "string"), "data": (3, "bytes")},
    wire.Error: {"code": (1, "uint32"), "message": (2, "string"), "temporary": (3, "bool")},
    wire.Empty: {},
    wire.SubscribeResult: {
        "expires": (1, "bool"), "ttl": (2, "uint32"), "recoverable": (3, "bool"),
        "epoch": (6, "string"), "publications": (7, ["bytes"]), "recovered": (8, "bool"),
        "offset": (9, "uint64"), "positioned": (10, "bool"), "data": (11, "bytes"),
        "was_recovering": (12, "bool"), "delta": (13, "bool"),
    },
    wire.ConnectResult: {
        "client": (1, "string"), "version": (2, "string"), "expires": (3, "bool"),
        "ttl": (4, "uint32"), "data": (5, "bytes"), "subs": (6, {"": wire.SubscribeResult}),
        "ping": (7, "uint32"), "pong": (8, "bool"), "session": (9, "string"),
        "node": (10, "string"), "time": (11, "int64"),
    },
    wire.PresenceResult: {"presence": (1, {"": "bytes"})},
    wire.PresenceStatsResult: {"num_clients": (1, "uint32"), "num_users": (2, "uint32")},
    wire.HistoryResult: {
        "publications": (1, ["bytes"]), "epoch": (2, "string"), "offset": (3, "uint64")},
    wire.RPCResult: {"data": (1, "bytes")},
    wire.RefreshResult: {
        "client": (1, "string"), "version": (2, "string"), "expires": (3, "bool"),
        "ttl": (4, "uint32"),
    },
    wire.SubRefreshResult: {"expires": (1, "bool"), "ttl": (2, "uint32")},
    wire.Unsubscribe: {"code": (2, "uint32"), "reason": (3, "string")},
    wire.MessagePush: {"data": (1, "bytes")},
    wire.SubscribePush: {
        "recoverable": (1, "bool"), "epoch": (4, "string"), "offset": (5, "uint64"),
        "positioned": (6, "bool"), "data": (7, "bytes"),
    },
    wire.Disconnect: {"code": (1, "uint32"), "reason": (2, "string")},
    wire.RefreshPush: {"expires": (1, "bool"), "ttl": (2, "uint32")},
    # Without `connect`, whose fields have other numbers in a push: unidirectional
    # transports, which alone have it, speak JSON.
    wire.Push: {
        "channel": (2, "string"), "pub": (4, "bytes"), "unsubscribe": (7, wire.Unsubscribe),
        "message": (8, wire.MessagePush), "subscribe": (9, wire.SubscribePush),
        "disconnect": (11, wire.Disconnect), "refresh": (12, wire.RefreshPush),
    },
    wire.Reply: {
        "id": (1, "uint32"), "error": (2, wire.Error), "push": (4, wire.Push),
        "connect": (5, wire.ConnectResult), "subscribe": (6, wire.SubscribeResult),
        "unsubscribe": (7, wire.Empty), "publish": (8, wire.Empty),
        "presence": (9, wire.PresenceResult),
        "presence_stats": (10, wire.PresenceStatsResult), "history": (11, wire.HistoryResult),
        "rpc": (13, wire.RPCResult), "refresh": (14, wire.RefreshResult),
        "sub_refresh": (15, wire.SubRefreshResult),
    },
}

_PACKAGE = "fanout.client"


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="fanout/client.proto", package=_PACKAGE, syntax="proto3")
    for struct, fields in SCHEMA.items():
        message = file.message_type.add(name=struct.__name__)
        for name, (number, kind) in fields.items():
            if isinstance(kind, dict):
                entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                _set_type(entry.field.add(name="key", number=1), "string")
                _set_type(entry.field.add(name="value", number=2), kind[""])
                message.field.add(
                    name=name, number=number, label=_Field.LABEL_REPEATED,
                    type=_Field.TYPE_MESSAGE,
                    type_name=f".{_PACKAGE}.{struct.__name__}.{entry.name}")
            elif isinstance(kind, list):
                _set_type(message.field.add(name=name, number=number), kind[0], repeated=True)
            else:
                _set_type(message.field.add(name=name, number=number), kind)
    return file


def _set_type(field: _Field, kind: str | type[Struct], *, repeated: bool = False) -> None:
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type = TYPES[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind.__name__}"


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_describe())
_structs = {f"{_PACKAGE}.{struct.__name__}": struct for struct in SCHEMA}
_classes: dict[type[Struct], type[PBMessage]] = {
    struct: message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))
    for name, struct in _structs.items()
}


def make(struct: type[Struct]) -> PBMessage:
    """An empty message of the library for ``struct``."""
    return _classes[struct]()


def from_protobuf(message: PBMessage) -> Any:
    """The struct that says what a message of the library says."""
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is None:
            if field.is_repeated:
                values[field.name] = [_scalar(field, item) for item in value]
            else:
                values[field.name] = _scalar(field, value)
        elif inner.GetOptions().map_entry:
            of = inner.fields_by_name["value"]
            values[field.name] = {
                key: _scalar(of, item) if of.message_type is None else from_protobuf(item)
                for key, item in value.items()
            }
        elif field.is_repeated:
            values[field.name] = [from_protobuf(item) for item in value]
        else:
            values[field.name] = from_protobuf(value)
    return _structs[message.DESCRIPTOR.full_name](**values)


def to_protobuf(struct: Struct, message: PBMessage | None = None) -> PBMessage:
    """The message of the library that says what a struct says."""
    if message is None:
        message = make(type(struct))
    for name in SCHEMA[type(struct)]:
        value = getattr(struct, name)
        if value is None or value == 0 or value == "":
            continue
        if isinstance(value, Struct):
            inner = getattr(message, name)
            inner.SetInParent()
            to_protobuf(value, inner)
        elif isinstance(value, list):
            getattr(message, name).extend(bytes(item) for item in value)
        elif isinstance(value, dict):
            target = getattr(message, name)
            for key, item in value.items():
                if isinstance(item, Struct):
                    to_protobuf(item, target[key])
                else:
                    target[key] = bytes(item)
        else:
            setattr(message, name, bytes(value) if isinstance(value, Raw) else value)
    return message


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    return Raw(value) if field.type == FieldDescriptor.TYPE_BYTES else value
