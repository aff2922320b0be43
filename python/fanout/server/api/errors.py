"""The errors of the server API, with Centrifugo's numbers and their HTTP statuses."""

from __future__ import annotations

import logging

from fanout.codes import (
    ERROR_BAD_REQUEST,
    ERROR_INTERNAL,
    ERROR_METHOD_NOT_FOUND,
    ERROR_NOT_AVAILABLE,
    ERROR_UNKNOWN_CHANNEL,
    ERROR_UNRECOVERABLE_POSITION,
    ClientError,
    ErrorCode,
)
from fanout.errors import ClosedError, FanoutError, UnknownChannelError, UnsupportedError

__all__ = ["APIError", "as_api_error", "bad_request"]

log = logging.getLogger("fanout.server")

HTTP_STATUS = {100: 500, 102: 404, 104: 404, 107: 400, 108: 400, 112: 416, 113: 409}


class APIError(Exception):
    """The error answer to one call."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        self.code = code.code
        self.message = f"{code.message}: {detail}" if detail else code.message
        super().__init__(self.code, self.message)

    @property
    def http_status(self) -> int:
        """What the error is in the transport error mode."""
        return HTTP_STATUS.get(self.code, 400)


BAD_REQUEST = ERROR_BAD_REQUEST
INTERNAL = ERROR_INTERNAL
METHOD_NOT_FOUND = ERROR_METHOD_NOT_FOUND
NOT_AVAILABLE = ERROR_NOT_AVAILABLE
UNKNOWN_CHANNEL = ERROR_UNKNOWN_CHANNEL
UNRECOVERABLE_POSITION = ERROR_UNRECOVERABLE_POSITION


def bad_request(rule: str) -> APIError:
    """107; ``rule`` says what was wrong, and what would be right."""
    return APIError(BAD_REQUEST, rule)


def as_api_error(error: Exception, method: str) -> APIError:
    """What ``method`` answers when ``error`` was raised; what is nobody's mistake is logged."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, ClientError):
        return APIError(ErrorCode(error.code, error.message))
    if isinstance(error, UnknownChannelError):
        return APIError(UNKNOWN_CHANNEL)
    if isinstance(error, UnsupportedError):
        return APIError(NOT_AVAILABLE)
    if isinstance(error, (TypeError, ValueError)):
        return bad_request(str(error))
    if isinstance(error, FanoutError):
        if not isinstance(error, ClosedError):
            log.warning("server API: %s failed: %s", method, error)
    else:
        log.error("server API: %s failed", method, exc_info=error)
    return APIError(INTERNAL)
