"""Checks every .pyi of a compiled module against the built module (mypy's stubtest)."""

import pathlib
import subprocess
import sys
import tempfile

PACKAGE = pathlib.Path(__file__).parent.parent / "python" / "fanout"
# What a stub leaves out on purpose are helpers that Cython makes visible; and
# a constructor in C (__cinit__) has no signature at run time.
OPTIONS = ["--ignore-missing-stub", "--mypy-config-file", "pyproject.toml"]
NO_SIGNATURE = r"fanout\._\w+\.\w+\.__init__"


def main() -> int:
    stubs = sorted(PACKAGE.glob("*.pyi"))
    sources = {path.stem for path in (PACKAGE.parent.parent / "fanout").glob("*.pyx")}
    missing = sources - {path.stem for path in stubs} - {
        "_buffer", "_channel", "_delivery", "_extras", "_membership", "_run", "_table", "_writer"}
    if missing:
        print(f"compiled modules without a stub: {', '.join(sorted(missing))}")
        return 1
    modules = [f"fanout.{path.stem}" for path in stubs]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as allowed:
        allowed.write(NO_SIGNATURE)
        allowed.flush()
        command = [sys.executable, "-m", "mypy.stubtest", *OPTIONS, "--allowlist", allowed.name]
        return subprocess.run([*command, *modules], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
