"""Fuzzing of everything that reads bytes of strangers.

A target (``tests/fuzz/targets/``) is a function of bytes that returns when all
is well: the bytes were read, or refused in the declared way. ``make fuzz``
gives each target bytes that atheris makes, led by which lines of Python they
reach; ``tests/fuzz/corpus/`` keeps those inputs that reached something new,
and ``tests/fuzz/test_corpus.py`` reads them again in every run of the suite,
on the sanitizers' build too.

The compiled modules are not instrumented: what happens inside of them leads
the fuzzer nowhere. Where a decoder is compiled its target therefore has the
same language read by plain Python beside it, which is instrumented and must
come to the same result.
"""
