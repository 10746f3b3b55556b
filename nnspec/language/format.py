"""The formatter: one layout for every spec, meaning and comments kept.

The layout depends on the tokens and on where comments stand among them, and on nothing else of the old layout but
single empty lines between statements; so formatting twice is formatting once. Tokens change in three ways only: ASCII
spelling of operators, no `;`, no comma before a closing bracket. A statement that fits into 100 columns is one line;
a longer one is broken at its loosest operators first, then inside brackets.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnspec.errors import Source, SpecError
from nnspec.language.collector import no_collection
from nnspec.language.layout import Writer, arrange
from nnspec.language.parser import parse
from nnspec.language.tokens import tokenize
from nnspec.language.tree import Token


@dataclass(slots=True)
class Gap:
    """The comments between two tokens that are kept: at most one at the end of the first one's line, others below."""

    trailing: str | None
    own: list[Token]


@no_collection()
def format_source(source: Source) -> str:
    """The text in its one layout, ending with a newline (empty if there is nothing). SpecError on syntax errors."""
    spec, errors = parse(source)
    if errors:
        raise SpecError(errors)
    tokens, comments = tokenize(source)
    text = _format(source, tokens, comments, [statement.span.start for statement in spec.statements])
    again = Source(source.name, text)
    if parse(again) != (spec, []) or _texts(tokenize(again)[1]) != _texts(comments):
        raise AssertionError(f"formatting {source.name} would change it")
    return text


def _texts(comments: list[Token]) -> list[str]:
    return [comment.text.rstrip() for comment in comments]


def _format(source: Source, tokens: list[Token], comments: list[Token], starts: list[int]) -> str:
    kept = _kept(tokens)
    gaps = _gaps(source, kept, tokens, comments)
    at = set(starts)
    firsts = [i for i, token in enumerate(kept) if token.span.start in at]
    page = _Page(source)
    page.comments(gaps[0].own)
    for first, last in zip(firsts, [*firsts[1:], len(kept)]):
        writer = Writer()
        # the comments below the last token belong to the page
        inner = [*gaps[first + 1 : last], Gap(None, [])]
        writer.statement(arrange(kept[first:last], [(gap.trailing, [c.text for c in gap.own]) for gap in inner]))
        page.statement(kept[first], writer.lines, gaps[last].trailing)
        page.comments(gaps[last].own)
    return page.text()


def _kept(tokens: list[Token]) -> list[Token]:
    """Tokens without optional separators: `;`, commas of the graph form, and commas before a closing bracket."""
    closing = {"RPAR", "RSQB", "RBRACE"}
    kept: list[Token] = []
    graph = False
    depth = 0
    for index, token in enumerate(tokens):
        if token.type in {"LPAR", "LSQB", "LBRACE"}:
            graph = graph or (index >= 2 and token.type == "LBRACE" and tokens[index - 2].type == "NET")
            depth += 1
        elif token.type in closing:
            depth -= 1
            graph = graph and depth > 0
        optional = token.type == "COMMA" and ((graph and depth == 1) or tokens[index + 1].type in closing)
        if not optional and token.type != "SEMICOLON":
            kept.append(token)
    return kept


def _gaps(source: Source, kept: list[Token], tokens: list[Token], comments: list[Token]) -> list[Gap]:
    """The comments before each kept token and after the last one. Comments before a comma move behind it."""
    collected: list[list[tuple[bool, Token]]] = [[] for _ in range(len(kept) + 1)]
    place = raw = 0
    for comment in comments:
        while place < len(kept) and kept[place].span.start < comment.span.start:
            place += 1
        while raw < len(tokens) and tokens[raw].span.start < comment.span.start:
            raw += 1
        trails = raw > 0 and "\n" not in source.text[tokens[raw - 1].span.end : comment.span.start]
        index = place
        while index < len(kept) and kept[index].type == "COMMA":
            index += 1
        collected[index].append((trails, comment))
    gaps = []
    for index, found in enumerate(collected):
        first_trails = bool(found) and found[0][0] and index > 0
        trailing = found[0][1].text.rstrip() if first_trails else None
        gaps.append(Gap(trailing, [comment for _, comment in found[first_trails:]]))
    return gaps


class _Page:
    """Statements and comments below each other, with the empty lines that the author put between them."""

    def __init__(self, source: Source):
        self.source = source
        self.lines: list[str] = []
        self.remarks: dict[int, str] = {}  # line -> the comment at its end

    def comments(self, comments: list[Token]) -> None:
        for comment in comments:
            self._space(comment)
            self.lines.append(comment.text.rstrip())

    def statement(self, first: Token, lines: list[str], trailing: str | None) -> None:
        self._space(first)
        self.lines += lines
        if trailing is not None and len(lines) > 1:
            self.lines[-1] += "  " + trailing
        elif trailing is not None:
            self.remarks[len(self.lines) - 1] = trailing

    def _space(self, item: Token) -> None:
        text, before = self.source.text, item.span.start
        while before > 0 and text[before - 1].isspace():
            before -= 1
        if self.lines and text.count("\n", before, item.span.start) > 1:
            self.lines.append("")

    def text(self) -> str:
        """The page, with the comments after consecutive one-line statements aligned."""
        lines = list(self.lines)
        block: list[int] = []
        for line in [*sorted(self.remarks), -1]:
            if block and line != block[-1] + 1:
                column = max(len(lines[i]) for i in block) + 2
                for i in block:
                    lines[i] = f"{lines[i]:<{column}}{self.remarks[i]}"
                block = []
            block.append(line)
        return "".join(line + "\n" for line in lines)
