"""Unit tests of the core's pieces."""
