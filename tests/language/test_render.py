"""Diagnostics as text."""

from __future__ import annotations

import io

import pytest

from nnspec.errors import Diagnostic, Label, Source, Span, diagnostic
from nnspec.language.render import render, wants_color

HOUSE = Source(
    "house.nns",
    """\
# a comment
data train = csv("house.csv", x = [area, rooms, age, dist], y = price)
net f = input(3) -> h1: dense(3, relu) -> out: dense(1)
minimize sse(f,
  train)
    + 3 * l0(f)

\tlet 名前 = a + "日本" + e\u0301 + x
""",
)


def place(start: str, end: str = "", source: Source = HOUSE) -> Span:
    first = source.text.index(start)
    return Span(source, first, source.text.index(end, first) + len(end) if end else first + len(start))


def test_two_places_and_help() -> None:
    found = diagnostic(
        "NNS031",
        "layer sizes do not match",
        place("input(3)"),
        "3 inputs",
        Label(place("[area", "]"), "4 inputs"),
        help="write input(4), or leave the size out: input()",
    )
    assert (
        render(found)
        == """\
error[NNS031]: layer sizes do not match
  --> house.nns:3:9
   |
 2 | data train = csv("house.csv", x = [area, rooms, age, dist], y = price)
   |                                   ------------------------ 4 inputs
 3 | net f = input(3) -> h1: dense(3, relu) -> out: dense(1)
   |         ^^^^^^^^ 3 inputs
help: write input(4), or leave the size out: input()"""
    )


def lines(found: Diagnostic) -> list[str]:
    return render(found).splitlines()[2:]


def test_without_a_place() -> None:
    assert render(diagnostic("NNS010", "x.nns does not exist", help="create it")) == (
        "error[NNS010]: x.nns does not exist\nhelp: create it"
    )


def test_a_warning() -> None:
    assert render(Diagnostic("NNS022", "unused", severity="warning")) == "warning[NNS022]: unused"


def test_lines_apart() -> None:
    assert lines(diagnostic("NNS001", "x", place("minimize"), "here", Label(place("data")), Label(place("# a")))) == [
        "   |",
        " 1 | # a comment",
        "   | ---",
        ' 2 | data train = csv("house.csv", x = [area, rooms, age, dist], y = price)',
        "   | ----",
        "...",
        " 4 | minimize sse(f,",
        "   | ^^^^^^^^ here",
    ]


def test_labels_on_one_line() -> None:
    left, right, middle = Label(place("net")), Label(place("out"), "right"), Label(place("h1"), "middle")
    assert lines(Diagnostic("NNS001", "x", (middle, left, right)))[2:] == [
        "   |                                           --- right",
        "   | ---                 ^^ middle",
    ]


def test_overlapping_labels() -> None:
    assert lines(diagnostic("NNS001", "x", place("input(3)"), "", Label(place("net", ")"), "all")))[2:] == [
        "   |         ^^^^^^^^",
        "   | ---------------- all",
    ]


def test_overlapping_labels_without_texts() -> None:
    assert lines(diagnostic("NNS001", "x", place("input(3)"), "", Label(place("net", ")"))))[2:] == [
        "   |         ^^^^^^^^",
        "   | ----------------",
    ]


def test_empty_lines_are_not_underlined() -> None:
    assert lines(diagnostic("NNS001", "x", place("3 * l0", "let"))) == [
        "   |",
        " 6 |     + 3 * l0(f)",
        "   |       ^^^^^^^^^",
        "...",
        " 8 |     let 名前 = a + \"日本\" + e\u0301 + x",
        "   |     ^^^",
    ]


def test_several_lines() -> None:
    assert lines(diagnostic("NNS001", "x", place("sse", "l0"), "this")) == [
        "   |",
        " 4 | minimize sse(f,",
        "   |          ^^^^^^",
        " 5 |   train)",
        "   |   ^^^^^^",
        " 6 |     + 3 * l0(f)",
        "   |     ^^^^^^^^ this",
    ]


def test_many_lines_are_left_out() -> None:
    source = Source("long.nns", "".join(f"line {i}\n" for i in range(1, 1001)))
    span = Span(source, 0, len(source.text) - 1)
    assert render(diagnostic("NNS001", "x", span, "all")).splitlines()[1:] == [
        "     --> long.nns:1:1",
        "      |",
        "    1 | line 1",
        "      | ^^^^^^",
        "   ...",
        " 1000 | line 1000",
        "      | ^^^^^^^^^ all",
    ]


@pytest.mark.parametrize(
    ("word", "column", "width"), [("let", 4, 3), ("名前", 8, 4), ('"日本"', 19, 6), ("e\u0301", 28, 1), ("x\n", 32, 1)]
)
def test_tabs_and_wide_characters(word: str, column: int, width: int) -> None:
    _, text, under = lines(diagnostic("NNS001", "x", place(word)))
    assert text == ' 8 |     let 名前 = a + "日本" + e\u0301 + x'
    assert under == "   | " + " " * column + "^" * width


def test_several_files() -> None:
    other = Source("other.nns", "let a = 1\nlet b = 2\n")
    assert lines(
        diagnostic("NNS001", "x", place("train"), "here", Label(place("b", source=other), "there"), Label(place("net")))
    ) == [
        "   |",
        ' 2 | data train = csv("house.csv", x = [area, rooms, age, dist], y = price)',
        "   |      ^^^^^ here",
        " 3 | net f = input(3) -> h1: dense(3, relu) -> out: dense(1)",
        "   | ---",
        "  ::: other.nns:2:5",
        "   |",
        " 2 | let b = 2",
        "   |     - there",
    ]


def test_the_end_of_the_text() -> None:
    source = Source("a.nns", "let a =")
    assert lines(diagnostic("NNS014", "x", Span(source, 7, 7), "here"))[2] == "   |        ^ here"
    empty = Source("a.nns", "")
    assert lines(diagnostic("NNS014", "x", Span(empty, 0, 0), "here")) == ["   |", " 1 |", "   | ^ here"]
    after = Source("a.nns", "let a =\n")
    assert lines(diagnostic("NNS014", "x", Span(after, 8, 8), "here")) == ["   |", " 2 |", "   | ^ here"]


@pytest.mark.parametrize("before", [0, 50, 119, 130, 100_000])
@pytest.mark.parametrize("after", [0, 130, 100_000])
def test_long_lines_are_cut_around_the_place(before: int, after: int) -> None:
    source = Source("long.nns", "a" * before + "HERE" + "b" * after)
    _, _, _, text, under = render(diagnostic("NNS001", "x", Span(source, before, before + 4))).splitlines()
    assert len(text) < 140
    start = text.index("HERE")
    assert under[start : start + 4] == "^^^^"
    assert under.count("^") == 4


def test_no_control_characters_reach_the_terminal() -> None:
    source = Source("bad\x1b[31m.nns", "let \x1b[31m = \x07\x9b \u202e \ud800 x")
    text = render(diagnostic("NNS001", "m\x1bm\n", Span(source, 4, 5), "l\x07l", help="h\x1b\u2066h"))
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "\n\n" not in text
    text.encode("utf-8")


def test_color_changes_nothing_but_color() -> None:
    import re

    found = diagnostic("NNS001", "x", place("train"), "here", Label(place("net"), "there"), help="fix it")
    colored = render(found, color=True)
    assert "\x1b[" in colored
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in plain.splitlines()] == render(found).splitlines()


def test_color_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_color(Terminal())
    assert not wants_color(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Terminal())


def test_several_diagnostics() -> None:
    found = Diagnostic("NNS001", "a")
    assert render([found, found]) == "error[NNS001]: a\n\nerror[NNS001]: a"
    assert render([]) == ""
    many = render([found] * 2000)
    assert many.count("error[NNS001]: a") == 50
    assert many.endswith("\n\n... and 1,950 more")
