"""The application's own code behind ``fanout serve --app``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fanout.errors import FanoutError
from fanout.node import Node

__all__ = ["Application", "ApplicationError", "load_application"]


class ApplicationError(FanoutError):
    """The application cannot be used; the text, one line, says where it failed."""


class Application:
    """What ``module:attribute`` names: a node, or a function that is given the server's.

    The function registers handlers; it may be a coroutine function. When it
    returns an asynchronous context manager, this is entered once the node runs,
    before any client comes, and left before the node is shut down: the place
    for what the application does all the time.
    """

    def __init__(self, name: str, value: Any) -> None:
        self._name = name
        self._value = value

    @property
    def node(self) -> Node | None:
        """The application's own node, if it is one."""
        return self._value if isinstance(self._value, Node) else None

    async def prepare(self, node: Node) -> AbstractAsyncContextManager[Any] | None:
        """Give it the node; raises :exc:`ApplicationError` for whatever it raises."""
        if self.node is not None:
            return None
        try:
            value = self._value(node)
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:
            raise ApplicationError(f"{self._name} raised {described(error)}") from error
        if value is None:
            return None
        if isinstance(value, AbstractAsyncContextManager):
            return self._entering(value)
        raise ApplicationError(
            f"{self._name} must return None or an asynchronous context manager, "
            f"not a {type(value).__name__}")

    @contextlib.asynccontextmanager
    async def _entering(self, around: AbstractAsyncContextManager[Any]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(around)
            except Exception as error:
                raise ApplicationError(f"{self._name} raised {described(error)}") from error
            yield


def load_application(name: str) -> Application:
    """Import what ``name`` (``module:attribute``) names, from the current directory too.

    Raises :exc:`ApplicationError`.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ApplicationError(f"{name!r} must be module:attribute, such as chat:setup")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and (
            module_name == error.name or module_name.startswith(f"{error.name}.")
        ):
            raise ApplicationError(
                f"there is no module {error.name!r}, in {os.getcwd()} or installed") from None
        raise ApplicationError(f"module {module_name!r} raised {described(error)}") from error
    for part in path.split("."):
        if not hasattr(value, part):
            raise ApplicationError(f"module {module_name!r} has no attribute {path!r}")
        value = getattr(value, part)
    if not isinstance(value, Node) and not callable(value):
        raise ApplicationError(
            f"{name} must be a function or a Node, not a {type(value).__name__}")
    return Application(name, value)


def described(error: Exception) -> str:
    """The error in one line, with the place in the code where it was raised."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return f"{line} ({frames[-1].filename}:{frames[-1].lineno})" if frames else line
