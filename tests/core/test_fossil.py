"""Differences, applied by ourselves and by the published clients."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from centrifuge.fossil import apply_delta
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanout._fossil import apply, create

# Few different bytes, so that there is much to find; and long enough for blocks.
few = st.lists(st.sampled_from(b"ab{}"), max_size=120).map(bytes)
blocks = st.lists(
    st.sampled_from([b"0123456789abcdef", b"x" * 16, b'{"name":"value"}', b"y", b"--"]),
    max_size=12).map(b"".join)
data = few | blocks | st.binary(max_size=100)


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Something, and what became of it."""
    base = draw(data)
    target = bytearray(base)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(target)))
        end = draw(st.integers(at, len(target)))
        target[at:end] = draw(st.binary(max_size=20) | st.just(bytes(target[:end - at])))
    return base, bytes(target)


pairs = edited() | st.tuples(data, data)
# Characters that begin or end with the same bytes as others, around what is found again.
letters = st.sampled_from(["a", "\u00e9", "\u0269", "\u8a9e", "\u8a9f", "\u939e", "\U0001f642"])
pieces = st.sampled_from([
    "0123456789abcdef" * 2, "\u8a9e" * 12, "\u00e9" * 17, '{"name":"value"}' * 2])
texts = st.lists(letters | pieces, max_size=9).map("".join) | st.text(max_size=80)


@given(pairs)
@example((b"", b""))
@example((b"x" * 16, b"x" * 16))
@example((b"x" * 15, b"x" * 17))
@example((b"a" * 40, b"b" + b"a" * 40))
def test_what_is_made_is_applied(pair: tuple[bytes, bytes]) -> None:
    base, target = pair
    patch = create(base, target)
    assert apply(base, patch) == target
    assert bytes(apply_delta(base, patch)) == target


@settings(max_examples=300)
@given(texts, texts, st.lists(st.tuples(letters, letters, letters, letters), max_size=3), pieces)
def test_a_patch_of_text_is_text(
    start: str, end: str, around: list[tuple[str, str, str, str]], piece: str
) -> None:
    """In JSON it travels inside of a string."""
    base = start + "".join(before + piece + behind for before, behind, _, _ in around) + end
    target = end + "".join(before + piece + behind for _, _, before, behind in around) + start
    for one, other in ((base, target), (target, base), (start, end), (start, start + end)):
        patch = create(one.encode(), other.encode())
        patch.decode()
        assert apply(one.encode(), patch) == other.encode()


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("x" * 20 + "\u8a9e", "x" * 20 + "\u8a9f"),
        ("\u00e9" + "x" * 20, "\u0269" + "x" * 20),
        ("a\u8a9e" + "x" * 40 + "\u8a9eb", "c\u939e" + "x" * 40 + "\u8a9fd"),
    ],
    ids=["start", "end", "middle"],
)
def test_no_character_is_cut(base: str, target: str) -> None:
    patch = create(base.encode(), target.encode())
    patch.decode()
    assert len(patch) < len(target.encode())
    assert apply(base.encode(), patch) == target.encode()


def test_a_small_change_is_a_small_patch() -> None:
    values = {"values": list(range(1000)), "name": "something", "more": "x" * 500}
    base = json.dumps(values).encode()
    for old, new in ((b"something", b"another"), (b" 500,", b" 5,"), (b"[0, 1,", b"[7, 0, 1,")):
        assert len(create(base, base.replace(old, new))) < 40
    halves = base[len(base) // 2:] + base[:len(base) // 2]
    assert len(create(base, halves)) < 60
    assert create(base, base) == create(base, base)
    assert len(create(base, base)) < 20


@pytest.mark.parametrize(
    ("base", "target"),
    [
        (b"a" * 300_000, (b"a" * 15 + b"b") * 18_750),
        (b"a" * 300_000, b"b" + b"a" * 299_998 + b"b"),
        ((b"a" * 15 + b"b") * 18_750, b"c" + (b"a" * 16) * 18_750 + b"c"),
        (b"a" * 300_000, b"b" + (b"a" * 31 + b"b") * 9_375 + b"c"),
        (b"ab" * 150_000, b"c" + b"ba" * 150_000 + b"d"),
        (b"a" * 4_000_000, b"b" + (b"a" * 31 + b"b") * 125_000 + b"c"),
    ],
)
def test_data_that_matches_everywhere(base: bytes, target: bytes) -> None:
    """Its time is linear; were it quadratic, this would take minutes."""
    assert apply(base, create(base, target)) == target


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (b"", "too early"),
        (b"5", "too early"),
        (b"5:", "no newline"),
        (b"5\n", "too early"),
        (b"5\n5:hell", "beyond the patch"),
        (b"5\n5:hello", "too early"),
        (b"5\n5:hello0;", "checksum"),
        (b"5\n4:hell0;", "makes 4 bytes, not the 5"),
        (b"4\n5:hello0;", "more than the 4"),
        (b"4\n5@0,0;", "more than the 4"),
        (b"5\n5@0;", "no comma"),
        (b"5\n5@1G,", "beyond the 16"),
        (b"H\nH@0,0;", "beyond the 16"),
        (b"5\n5?", "unknown command"),
        (b"ZZZZZZZ\n", "more than 32 bits"),
        (create(b"", b"hello") + b"x", "1 bytes too many"),
    ],
)
def test_what_is_no_patch_is_refused(patch: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        apply(b"0123456789abcdef", patch)


@given(pairs, st.integers(0, 200), st.binary(max_size=3))
def test_any_bytes_are_a_patch_or_refused(
    pair: tuple[bytes, bytes], at: int, change: bytes
) -> None:
    base, target = pair
    patch = create(base, target)
    at %= len(patch) + 1
    with contextlib.suppress(ValueError):
        assert len(apply(base, patch[:at] + change + patch[at + len(change):])) < 1 << 20
    for size in range(len(patch)):
        with pytest.raises(ValueError):
            apply(base, patch[:size])


def test_a_short_patch_cannot_ask_for_much_memory() -> None:
    with pytest.raises(ValueError):
        apply(b"x" * 16, b"3~~~~~\nG@0,")


@pytest.mark.parametrize("wrong", [None, "text", bytearray(b"x")])
def test_only_bytes(wrong: object) -> None:
    for call in (create, apply):
        with pytest.raises(TypeError):
            call(wrong, b"x")    # type: ignore[arg-type]
        with pytest.raises(TypeError):
            call(b"x", wrong)    # type: ignore[arg-type]


@pytest.fixture(scope="session")
def fossil_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The delta code of centrifuge-js, as a module of its own."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("centrifuge-js needs node and npm, which are not installed")
    place = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "centrifuge@5"],
        cwd=place, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install centrifuge-js: {done.stderr.strip()[-200:]}")
    return place


SCRIPT = """
const {readFileSync} = require('fs');
const source = readFileSync('node_modules/centrifuge/build/index.js', 'utf8');
// The function is private to the bundle: take the bundle's own text of it.
const from = source.indexOf('const zValue');
const to = source.indexOf('class ', source.indexOf('function applyDelta'));
const applyDelta = new Function(source.slice(from, to) + '; return applyDelta;')();
const cases = JSON.parse(readFileSync(0, 'utf8'));
const text = new TextDecoder('utf-8', {fatal: true});
const bytes = new TextEncoder();
process.stdout.write(JSON.stringify(cases.map(([base, patch]) =>
    text.decode(applyDelta(bytes.encode(base), bytes.encode(patch))))));
"""


def test_centrifuge_js_applies_them(fossil_js: Path) -> None:
    """As its JSON transport does: the patch is a string, and the base text."""
    texts = ["", "{}", '{"a":1}', '{"name":"é語🙂","values":[1,2,3,4,5,6,7,8,9]}',
             '{"name":"è誟🙃","values":[1,2,3,4,5,6,7,8,9]}', "語" * 100,
             "語" * 50 + "é" + "語" * 50,
             json.dumps(list(range(200))), json.dumps(list(range(199, -1, -1)))]
    cases = [(base, target) for base in texts for target in texts]
    patches = [
        (base, create(base.encode(), target.encode()).decode()) for base, target in cases]
    done = subprocess.run(
        ["node", "-e", SCRIPT], cwd=fossil_js, input=json.dumps(patches), capture_output=True,
        text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [target for _, target in cases]
