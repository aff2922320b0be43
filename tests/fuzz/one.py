"""Fuzz one target: ``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``."""

from __future__ import annotations

import shlex
import sys

import atheris

from tests.fuzz.mutation import mutated

# Whose lines lead the fuzzer: ours, and those beside whose our compiled code is held.
INSTRUMENTED = [
    "fanout", "tests.fuzz.targets", "tests.core.test_filter", "centrifuge.fossil",
    "websockets.frames", "websockets.protocol", "websockets.streams", "json", "yaml", "tomllib",
]


def _mutate(data: bytes, most: int, seed: int) -> bytes:
    changed = mutated(data, seed) if seed % 2 else None
    if changed is None or len(changed) > most:
        return atheris.Mutate(data, most)
    return changed


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import load

        target = load(name)
    # To merge corpora libFuzzer starts itself once more, in a shell and by its first argument.
    command = f"{shlex.quote(sys.executable)} -m tests.fuzz.one {name}"
    atheris.Setup(
        [command, *sys.argv[1:], f"-max_len={target.MAX_LEN}"], target.run,
        custom_mutator=_mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
