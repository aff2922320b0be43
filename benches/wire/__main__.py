"""Command line of the wire suite."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from .build import BuildError
from .suite import Plan, run_suite

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "results" / "wire.json"


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.wire", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE")
    parser.add_argument("--connections", type=numbers, metavar="N,N")
    parser.add_argument("--payloads", type=numbers, metavar="BYTES,BYTES")
    parser.add_argument("--per-tick", type=numbers, metavar="N,N")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", metavar="NAME,NAME", help="these servers alone")
    arguments = parser.parse_args()

    plan = Plan.smoke() if arguments.quick else Plan()
    changes: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("connections", "payloads", "per_tick", "rounds")
        if getattr(arguments, name) is not None
    }
    if arguments.only:
        changes["only"] = frozenset(arguments.only.split(","))
    plan = dataclasses.replace(plan, **changes)
    # A quick run must not replace the numbers of a real one.
    output = arguments.output or (
        DEFAULT_OUTPUT.with_name("wire-quick.json") if plan.quick else DEFAULT_OUTPUT
    )
    output.parent.mkdir(parents=True, exist_ok=True)

    def save(result: dict[str, Any]) -> None:
        output.write_text(json.dumps(result, indent=1) + "\n")

    try:
        result = run_suite(plan, on_round=save)
    except (BuildError, ValueError) as error:
        print(f"benches.wire: {error}", file=sys.stderr)
        return 1
    save(result)
    for goal in result["goals"]:
        shape = f"{goal['connections']} x {goal['payload']} B x {goal['per_tick']} per tick"
        verdict = "met" if goal["met"] else "MISSED"
        print(f"{verdict}: {shape}: {goal['text']}: {goal['value']:.2f} / {goal['limit']:.2f}")
    print(f"written: {output}")
    # A smoke run that measured nothing has found something broken.
    return 0 if result["samples"] else 1


if __name__ == "__main__":
    sys.exit(main())
