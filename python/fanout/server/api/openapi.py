"""The server API described in OpenAPI 3.1, made from what the server decodes and encodes with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from fanout.server.api import types
from fanout.server.api.http import (
    BODY_LIMIT,
    ERROR_MODE_HEADER,
    BatchRequest,
    LegacyCommand,
)
from fanout.server.api.methods import METHODS, Method
from fanout.version import VERSION

__all__ = ["add_description", "description"]

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"header": []}, {"authorization": []}, {"query": []}]
_ABOUT = f"""\
What an application's backend asks the server to do. Errors are in the body of a 200, as
`{{"error": {{"code": ..., "message": ...}}}}`; where the server is configured so, or a request has
the header `{ERROR_MODE_HEADER}: transport`, they are an HTTP status, with
`{{"code": ..., "message": ...}}` as the body. A request has at most {BODY_LIMIT:,} bytes. What is
not known in one is passed over."""
_TRANSPORT_ERRORS = {
    "400": "The request cannot be read; in the transport error mode also 107 and 108.",
    "404": "In the transport error mode: 102 and 104.",
    "409": "In the transport error mode: 113.",
    "416": "In the transport error mode: 112.",
    "500": "In the transport error mode: 100.",
}


def description(prefix: str) -> dict[str, Any]:
    """The document for an API whose methods are below ``prefix``."""
    prefix = prefix.rstrip("/")
    schemas = _schemas()
    paths = {
        f"{prefix}/{name}": {"post": _operation(name, method)} for name, method in METHODS.items()
    }
    paths[f"{prefix}/batch"] = {"post": {
        "operationId": "batch",
        "summary": _summary(BatchRequest),
        "description":
            "The replies are in the order of the commands. They are done one after the other "
            "unless `parallel` is true.",
        "requestBody": _body(_reference("BatchRequest")),
        "responses": _responses(_reference("BatchResponse"), transport_errors=False),
        "security": _SECURITY,
    }}
    paths[prefix or "/"] = {"post": {
        "operationId": "command",
        "summary": "The older form of a call; several may follow each other in one request.",
        "requestBody": _body(_reference("LegacyCommand")),
        "responses": _responses(_reference("LegacyReply"), transport_errors=False),
        "security": _SECURITY,
    }}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fanout server API", "version": VERSION, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "authorization": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "The key, with `apikey ` in front."},
                "query": {"type": "apiKey", "in": "query", "name": "api_key"},
            },
        },
    }


def add_description(router: web.UrlDispatcher, path: str, prefix: str) -> None:
    """Serve the document at ``path``, at ``path/`` and at ``path/openapi.json``."""
    body = msgspec.json.encode(description(prefix))

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    path = path.rstrip("/")
    for place in {path or "/", f"{path}/", f"{path}/openapi.json"}:
        router.add_get(place, handle)


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [
            types.Error, BatchRequest, LegacyCommand,
            *(method.request for method in METHODS.values()),
            *(method.result for method in METHODS.values()),
        ],
        ref_template=_REFERENCE)
    for schema in schemas.values():
        schema["description"] = schema.get("description", "").replace("``", "`")
    for method in METHODS.values():
        # The server says itself what is missing, so the types let it be left out.
        if method.required:
            schemas[method.request.__name__]["required"] = list(method.required)
        schemas[f"{_stem(method)}Response"] = _either(
            {"result": _reference(method.result.__name__)}, {"error": _reference("Error")})
    schemas["BatchResponse"] = _object({"replies": {
        "type": "array",
        "items": {"anyOf": [
            _object({name: _reference(method.result.__name__)})
            for name, method in METHODS.items() if method.available
        ] + [_object({"error": _reference("Error")})]},
    }})
    schemas["LegacyReply"] = _either(
        {"result": {"type": "object"}}, {"error": _reference("Error")},
        id={"type": "integer"})
    return schemas


def _operation(name: str, method: Method) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": _summary(method.request),
        "requestBody": _body(_reference(method.request.__name__)),
        "responses": _responses(_reference(f"{_stem(method)}Response"), transport_errors=True),
        "security": _SECURITY,
    }


def _responses(success: dict[str, Any], *, transport_errors: bool) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    error = {"application/json": {"schema": _reference("Error")}}
    responses: dict[str, Any] = {
        "200": {
            "description": "What was asked for, or why it was not done.",
            "content": {"application/json": {"schema": success}},
        },
        "400": {"description": "The request cannot be read.", "content": text},
        "401": {"description": "No valid API key.", "content": text},
        "408": {"description": "The request's body did not come in time.", "content": text},
        "413": {"description": f"More than {BODY_LIMIT:,} bytes.", "content": text},
    }
    if transport_errors:
        for status, meaning in _TRANSPORT_ERRORS.items():
            responses[status] = {
                "description": meaning, "content": error | (text if status == "400" else {})}
    return responses


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=name)}


def _object(properties: dict[str, Any], optional: Iterable[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _either(*choices: dict[str, Any], **optional: dict[str, Any]) -> dict[str, Any]:
    """Objects that have the properties of one of the choices."""
    return {"anyOf": [_object({**choice, **optional}, optional) for choice in choices]}


def _stem(method: Method) -> str:
    return method.result.__name__.removesuffix("Result")


def _summary(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").strip().partition("\n")[0]
