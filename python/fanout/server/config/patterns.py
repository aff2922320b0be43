"""Patterns that a configuration holds, compiled: origins and channel names.

Centrifugo matches both with Go libraries. What Python's ``re`` would silently
read in another way is translated or refused here, because these patterns
decide who may do what.
"""

from __future__ import annotations

import fnmatch
import re
import warnings

__all__ = ["compile_channel_regex", "compile_origin"]


def compile_origin(pattern: str) -> re.Pattern[str]:
    """An ``allowed_origins`` pattern; match it whole against a lower-case origin.

    ``*`` is any text, ``?`` one character, ``[abc]`` one of a set. Raises
    ``ValueError`` for ``{a,b}``, which would otherwise be taken literally.
    """
    if "{" in pattern or "\\" in pattern:
        raise ValueError("must not use {...} or a backslash: list each origin instead")
    return re.compile(fnmatch.translate(pattern.lower()))


def compile_channel_regex(pattern: str) -> re.Pattern[str]:
    """A ``channel_regex`` written for Go; use it with ``search``, as Centrifugo does.

    Classes such as ``\\d`` and ``\\w`` are ASCII, and ``$`` is the end of the
    name, never the place before a final line feed. Raises ``ValueError`` for
    what ``re`` cannot compile or would read differently.
    """
    try:
        with warnings.catch_warnings():
            # re warns where it foresees a change of meaning: "[[:alpha:]]" is one.
            warnings.simplefilter("error")
            return re.compile(_ends_for_python(pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"must be a regular expression that Python takes ({error})") from None


def _ends_for_python(pattern: str) -> str:
    """``$`` and ``\\z`` outside character classes become ``\\Z``."""
    if re.search(r"\(\?[a-zA-Z]*m", pattern):
        raise ValueError("must not use the multi-line flag: a channel name is one line")
    out: list[str] = []
    in_class = False
    at = 0
    while at < len(pattern):
        token = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        at += len(token)
        if in_class:
            in_class = token != "]"
        elif token == "[":
            in_class = True
            # A "]" that comes first is a member of the class, not its end.
            first = re.compile(r"\^?\]?").match(pattern, at)
            assert first is not None
            token += first.group()
            at = first.end()
        elif token in ("$", "\\z"):
            token = r"\Z"
        out.append(token)
    return "".join(out)
