"""The kept corpus of the fuzzer is read again, without the fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import NAMES, load

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 1 << 20    # of all that is kept


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_read(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    run = load(name).run
    for path in inputs:
        try:
            run(path.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {path}")
            raise


def test_the_corpus_is_that_of_the_targets() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(NAMES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES


def test_json_is_changed_into_json() -> None:
    data = b'J{"id":1,"connect":{}}\x1e{"id":2,"subscribe":{"channel":"a"}}'
    made = {mutated(data, seed) for seed in range(200)}
    assert len(made) > 100
    assert mutated(b"no JSON", 1) is None
