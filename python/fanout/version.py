"""The version, in a module of its own: the package's own imports need it."""

VERSION = "0.1.0"
