"""The formatter keeps meaning and comments, and has one layout for each spec."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from nns_text import specs

from nnspec.errors import SpecError
from nnspec.language.format import format_source
from nnspec.language.includes import text_source
from nnspec.language.parser import parse
from nnspec.language.tokens import tokenize


def formatted(text: str) -> str:
    return format_source(text_source(text))


def comments(text: str) -> list[str]:
    return [comment.text.rstrip() for comment in tokenize(text_source(text))[1]]


@settings(max_examples=150, deadline=None)
@given(specs())
def test_meaning_and_comments_are_kept_and_twice_is_once(text: str) -> None:
    once = formatted(text)
    assert parse(text_source(once)) == parse(text_source(text))
    assert comments(once) == comments(text)
    assert formatted(once) == once
    assert once.isascii() or not text.isascii()
    assert not any(operator in once for operator in "≤≥≠")
    assert once == "" or (once.endswith("\n") and not once.endswith("\n\n"))
    assert all(line == line.rstrip() for line in once.splitlines())


@settings(max_examples=50, deadline=None)
@given(specs())
def test_layout_does_not_depend_on_spaces(text: str) -> None:
    tokens, remarks = tokenize(text_source(text))
    if not remarks:
        bare = " ".join(token.text for token in tokens)
        statements = [line for line in formatted(text).splitlines() if line]
        assert statements == formatted(bare).splitlines()


CASES = {
    "spaces": (
        "minimize  -x ^ 2*( a+b )/-c [ 1 ,2 ] . w",
        "minimize -x^2 * (a + b) / -c[1, 2].w\n",
    ),
    "ranges": ("set S = 0 .. n-1  set T = 0 .. n", "set S = 0 .. n - 1\nset T = 0..n\n"),
    "operators": ("constraint a ≤ b ≥ c  constraint a ≠ b", "constraint a <= b >= c\nconstraint a != b\n"),
    "semicolons": ("let a=1;;let b=[1,2,];", "let a = 1\nlet b = [1, 2]\n"),
    "comments": (
        "let a = 1 # one\n\n\n\n  # two\nlet bcd = 2;   # three  \nlet e = 3 # four\n#five",
        "let a = 1  # one\n\n# two\nlet bcd = 2  # three\nlet e = 3    # four\n#five\n",
    ),
    "graph": (
        "net f { x: input(8), a: dense(x,4,relu); s: add(x,a) } with weights in -1..1",
        "net f {\n  x: input(8)\n  a: dense(x, 4, relu)\n  s: add(x, a)\n} with weights in -1..1\n",
    ),
    "chain": (
        "net network = input(4) -> first: dense(10, relu, l0 <= 6) -> second: dense(10, relu) -> dense(1)"
        " -> dense(1) with weights in -5..5",
        """\
        net network = input(4)
          -> first: dense(10, relu, l0 <= 6)
          -> second: dense(10, relu)
          -> dense(1)
          -> dense(1)
          with weights in -5..5
        """,
    ),
    "comments inside": (
        "let x = f(a # first\n # second\n , # third\n b, # fourth\n ) # fifth",
        """\
        let x = f(
          a,  # first
          # second
          # third
          b  # fourth
        )  # fifth
        """,
    ),
    "comment on its own line": (
        "let x = f( \n # own \n a, b)",
        """\
        let x = f(
          # own
          a,
          b
        )
        """,
    ),
    "comprehension": (
        "minimize sum(" + "a_long_name * " * 6 + "b for i in 0..10, j in 0..10 if i < j)",
        """\
        minimize sum(
          a_long_name * a_long_name * a_long_name * a_long_name * a_long_name * a_long_name * b
            for i in 0..10, j in 0..10
            if i < j
        )
        """,
    ),
    "long sum": (
        "minimize " + " + ".join(f"{i} * loss_number_{i}" for i in range(5)) + " - 1",
        """\
        minimize 0 * loss_number_0
          + 1 * loss_number_1
          + 2 * loss_number_2
          + 3 * loss_number_3
          + 4 * loss_number_4
          - 1
        """,
    ),
    "nothing": ("  \n ; \n", ""),
    "only comments": ("\n\n# a\n\n\n# b", "# a\n\n# b\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_layout(case: str) -> None:
    text, expected = CASES[case]
    assert formatted(text) == textwrap.dedent(expected)


def test_lines_break_at_100_columns() -> None:
    text = "let table = [" + ", ".join(str(i) for i in range(500)) + "]\n"
    lines = formatted(text).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 30
    fits = "let " + "a" * 92 + " = 1\n"
    assert len(fits) == 101
    assert formatted(fits) == fits


def test_a_spec_with_errors_is_not_formatted() -> None:
    with pytest.raises(SpecError):
        formatted("let a = \nlet b = 3")


def test_deep_nesting_is_formatted() -> None:
    text = "let a = " + "f([" * 49 + "1" + "])" * 49 + "\n"
    assert formatted(formatted(text)) == formatted(text)
    wide = "let a = " + "f(1000 * x + [2000 * yyyy ^ -" * 16 + "1" + "])" * 16 + "\n"
    assert formatted(formatted(wide)) == formatted(wide)
