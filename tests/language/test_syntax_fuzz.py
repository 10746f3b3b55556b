"""Any bytes at all are checked or refused with a message, in bounded time and without a traceback."""

from __future__ import annotations

import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nns_text import specs

from nnspec.errors import Diagnostic
from nnspec.language.codes import CODES
from nnspec.language.format import format_source
from nnspec.language.grammar import spellings
from nnspec.language.includes import text_source
from nnspec.language.load import check
from nnspec.language.parser import parse
from nnspec.language.render import render

INTERNALS = re.compile(r"LPAR|RSQB|NAME|\$END|Token\(|Traceback|0x[0-9a-f]{6,}|lark|NoneType")


def diagnostics(content: bytes, folder: pathlib.Path) -> list[Diagnostic]:
    file = folder / "spec.nns"
    file.write_bytes(content)
    return list(check(file).diagnostics)


def judge(content: bytes, folder: pathlib.Path) -> None:
    found = diagnostics(content, folder)
    text = render(found)
    assert len(text) < 100_000
    assert all(one.code in CODES and one.message for one in found)
    assert all(c == "\n" or c.isprintable() or c == "\ufffd" for c in text)
    if len(content) < 2000 and not any(word in content.decode("utf-8", "replace") for word in ("NAME", "0x", "lark")):
        assert not INTERNALS.search(text), text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("fuzz")


WORDS = st.sampled_from([*spellings().values(), "x", "f", "D", "0", "0.5", "1e999", '"s"', '"open', "'q'", "=>", "&&",
                         "**", ":=", "=<", "!", "≤", "@", "\\", "# ", "\n", "\r"])  # fmt: skip
SOUP = st.lists(WORDS, max_size=60).flatmap(
    lambda words: st.sampled_from([" ", "", "\n"]).map(lambda gap: gap.join(words))
)


@settings(max_examples=500, deadline=None)
@given(content=st.one_of(st.binary(max_size=300), st.text().map(str.encode), SOUP.map(str.encode)))
def test_any_bytes(content: bytes, folder: pathlib.Path) -> None:
    judge(content, folder)


@settings(max_examples=150, deadline=None)
@given(text=specs(), data=st.data())
def test_a_spec_with_a_piece_missing_or_doubled(text: str, data: st.DataObject, folder: pathlib.Path) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 10, len(text))))
    judge(
        (text[:start] + data.draw(st.sampled_from(["", text[start:end] * 2, "\x00", ")", '"'])) + text[end:]).encode(),
        folder,
    )


@settings(max_examples=100, deadline=None)
@given(SOUP)
def test_what_has_no_errors_can_be_formatted(text: str) -> None:
    source = text_source(text)
    if not parse(source)[1]:
        format_source(source)


LONG = 10_000
HARD = {
    "brackets": "minimize " + "(" * LONG + "1" + ")" * LONG,
    "opening brackets": "minimize " + "([{" * LONG,
    "closing brackets": "minimize 1" + ")" * LONG,
    "minus": "minimize " + "-" * LONG + "1",
    "not": "constraint " + "not " * LONG + "a",
    "powers": "minimize 2" + "^2" * LONG,
    "implications": "constraint a" + " ==> a" * LONG,
    "ladder": "minimize " + "if a then b else " * LONG + "c",
    "ladder of conditions": "minimize " + "if " * LONG,
    "calls": "minimize f" + "(1)" * LONG,
    "items": "minimize f" + "[1]" * LONG,
    "attributes": "minimize f" + ".g" * LONG,
    "keywords": "let " * LONG,
    "statements": "satisfy " * 2000,
    "bad statements": "let let = \n" * LONG,
    "misspelt statements": "minimise x\n" * LONG,
    "unknown statements": "hello\n" * LONG,
    "many words": "hello " * LONG,
    "misspelt word in a long line": "minimize " + "x + " * LONG + "y wiht z",
    "foreign operators": "constraint a" + " && a" * LONG,
    "reserved words": "let x = [" + "let, " * LONG + "y]",
    "strings": 'let x = "' * 2000,
    "numbers": "let x = " + "1." * LONG,
    "digits": "let x = " + "9" * LONG,
    "exponent": "let x = 1e" + "9" * LONG,
    "negative exponent": "let x = 1e-" + "9" * LONG,
    "zero with an exponent": "let x = 0e" + "9" * LONG,
    "name": "let " + "x" * LONG + " = 1",
    "line": "let x = " + "1 + " * LONG,
    "spaces": " " * LONG + "x",
    "combining": "let x" + "\u0301" * LONG + " = 2 @",
    "commas": "data " + "a, " * LONG + "b = 3 4",
    "NUL": "\x00" * LONG,
    "quotes": '"' * LONG,
    "escapes": 'let x = "' + "\\" * LONG + '"',
    "hashes": "#" * LONG,
    "generators": "constraint x for " + "i in S, " * LONG + "j in T if a b",
}


@pytest.mark.parametrize("case", HARD)
def test_hard_texts(case: str, folder: pathlib.Path) -> None:
    judge(HARD[case].encode(), folder)
    source = text_source(HARD[case])
    if not parse(source)[1]:
        assert format_source(text_source(format_source(source))) == format_source(source)


def test_random_bytes_of_a_program(folder: pathlib.Path) -> None:
    judge(bytes(range(256)) * 500, folder)
    judge(bytes(range(128)) * 2000, folder)
