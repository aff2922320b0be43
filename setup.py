"""Builds the Cython core in ``fanout/`` into the package ``python/fanout/``.

Environment switches, for any installer:

FANOUT_DEBUG=1     assertions, and counts of every allocation and reference
                   that the core owns (see ``fanout._memory``)
FANOUT_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import pathlib

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = pathlib.Path(__file__).parent
DEBUG = os.environ.get("FANOUT_DEBUG") == "1"
SANITIZE = os.environ.get("FANOUT_SANITIZE") == "1"

DIRECTIVES = {
    "language_level": "3",
    "binding": False,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": False,
    "embedsignature": True,
    "always_allow_keywords": True,
}

compile_args = ["-std=c11", "-O1" if SANITIZE else "-O2", "-g", "-fno-strict-aliasing",
                "-Wall", "-Wno-unused-function"]
link_args = []
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
             "-fno-omit-frame-pointer"]
    compile_args += flags
    link_args += flags

modules = sorted(path.stem for path in (HERE / "fanout").glob("*.pyx"))
extensions = [
    Extension(
        f"fanout.{name}",
        [f"fanout/{name}.pyx"],
        include_dirs=["fanout"],
        define_macros=[("FANOUT_DEBUG", "1" if DEBUG else "0")],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        depends=["fanout/debug.h", "fanout/socket_send.h"],
    )
    for name in modules
]

setup(
    # force: the .pyx decides, never a .c left by an earlier build
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, force=True),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
