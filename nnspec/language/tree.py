"""From parsed rules to the syntax tree: one method per rule of the grammar, called by the parser on each reduction.

Each method takes the rule's children in order, tokens included (punctuation too, so that spans reach to the closing
bracket), and returns a node. Nothing here recurses, so nesting of any depth is safe.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnspec.errors import Diagnostic, Label, Span, diagnostic
from nnspec.language import syntax as s

ASCII_OPERATORS = {"≤": "<=", "≥": ">=", "≠": "!="}
ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text with the name of its terminal in the grammar."""

    type: str
    span: Span
    text: str


class Problem(Exception):
    """A mistake found while building a node; it spoils its statement."""

    def __init__(self, found: Diagnostic):
        super().__init__(found.message)
        self.found = found


def _span(children: list[Any]) -> Span:
    first = children[0].span
    return Span(first.source, first.start, children[-1].span.end)


def _operator(token: Token) -> str:
    text = token.text
    return ASCII_OPERATORS.get(text, text)


def _exprs(children: list[Any]) -> tuple[Any, ...]:
    return tuple(child for child in children if isinstance(child, s.Expr))


def _after(children: list[Any], type_: str) -> Any:
    """The child that follows the first token of a type, or None."""
    for index, child in enumerate(children):
        if isinstance(child, Token) and child.type == type_:
            return children[index + 1]
    return None


def _generators(children: list[Any]) -> tuple[tuple[s.Generator, ...], s.Expr | None]:
    generators = tuple(child for child in children if isinstance(child, s.Generator))
    return generators, next((child.expression for child in children if isinstance(child, _Condition)), None)


def _refuse_repeated(named: Sequence[s.Keyword | s.Setting]) -> None:
    """The same thing said twice; `l0 >= 1, l0 <= 6` are two things."""
    seen: dict[tuple[str, str], s.Name] = {}
    for node in named:
        first = seen.setdefault((node.name.name, getattr(node, "operator", "=")), node.name)
        if first is not node.name:
            label = Label(first.span, "first here")
            raise Problem(
                diagnostic("NNS013", f"`{first.name}` is given twice", node.name.span, "", label, help="remove one")
            )


@dataclass(frozen=True, slots=True)
class _Condition:
    span: Span
    expression: s.Expr


@dataclass(frozen=True, slots=True)
class _Clause:
    """A list of nodes with a span of its own: a chain, a graph, `free ...`, `with ...`."""

    span: Span
    kind: str
    nodes: tuple[Any, ...]


class TreeBuilder:
    """One method per rule and per terminal with a value."""

    # terminals

    def NAME(self, token: Token) -> s.Name:
        name = unicodedata.normalize("NFC", token.text)
        if not name.isidentifier():
            bad = next(c for c in name if not ("a" + c).isidentifier())
            power = f"write ^{unicodedata.digit(bad)}" if bad in "²³" else None
            at = token.span.start + max(token.text.find(bad), 0)
            span = Span(token.span.source, at, at + 1)
            raise Problem(diagnostic("NNS016", f"`{bad}` cannot be part of a name", span, help=power))
        return s.Name(token.span, name)

    def NUMBER(self, token: Token) -> s.Number:
        text = token.text
        value = float(text)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
            side = "small" if value == 0 else "large"
            raise Problem(diagnostic("NNS007", f"this number is too {side} for a double", token.span))
        return s.Number(token.span, int(text) if text.isdecimal() else value)

    def STRING(self, token: Token) -> s.String:
        parts, text = [], token.text[1:-1]
        start = 0
        while (slash := text.find("\\", start)) >= 0:
            if text[slash + 1] not in ESCAPES:
                at = token.span.start + 1 + slash
                raise Problem(
                    diagnostic(
                        "NNS015",
                        f"unknown escape `{text[slash : slash + 2]}` in a string",
                        Span(token.span.source, at, at + 2),
                        help="write / between folders, or \\\\ for one backslash",
                    )
                )
            parts += [text[start:slash], ESCAPES[text[slash + 1]]]
            start = slash + 2
        return s.String(token.span, "".join([*parts, text[start:]]))

    # statements

    def start(self, children: list[Any]) -> tuple[s.Statement, ...]:
        return tuple(child for child in children if isinstance(child, s.Statement))

    def include(self, children: list[Any]) -> s.Include:
        return s.Include(_span(children), children[1])

    def param(self, children: list[Any]) -> s.Param:
        type_, domain, default = (_after(children, mark) for mark in ("COLON", "IN", "EQUAL"))
        return s.Param(_span(children), children[1], type_, domain, default)

    def set_definition(self, children: list[Any]) -> s.SetDefinition:
        return s.SetDefinition(_span(children), children[1], children[3])

    def let(self, children: list[Any]) -> s.Let:
        return s.Let(_span(children), children[1], children[3])

    def data(self, children: list[Any]) -> s.Data:
        return s.Data(_span(children), _exprs(children[:-1]), children[-1])

    def net(self, children: list[Any]) -> s.Net:
        clauses = {child.kind: child.nodes for child in children if isinstance(child, _Clause)}
        form = "graph" if "graph" in clauses else "chain"
        layers = clauses[form]
        first = layers[0]
        if form == "chain" and len(layers) == 1 and first.args and isinstance(first.args[0], s.String):
            form = "import"
        free = clauses.get("free", ())
        if free and form != "import":
            raise Problem(
                diagnostic("NNS017", "`free` is for imported networks", free[0].span, help="every layer here is free")
            )
        return s.Net(_span(children), children[1], form, layers, free, clauses.get("with", ()))

    def var(self, children: list[Any]) -> s.Var:
        type_, domain = _after(children, "COLON"), _after(children, "IN")
        return s.Var(_span(children), children[1], *_generators(children), type_, domain)

    def objective(self, children: list[Any]) -> s.Objective:
        label = children[1] if len(children) == 4 else None
        return s.Objective(_span(children), children[0].text, label, children[-1] if len(children) > 1 else None)

    def constraint(self, children: list[Any]) -> s.Constraint:
        labelled = isinstance(children[2], Token) and children[2].type == "COLON" if len(children) > 2 else False
        label, expression = (children[1], children[3]) if labelled else (None, children[1])
        return s.Constraint(_span(children), label, expression, *_generators(children))

    def break_symmetry(self, children: list[Any]) -> s.BreakSymmetry:
        return s.BreakSymmetry(_span(children), children[2], _exprs(children[4:]))

    def assume(self, children: list[Any]) -> s.Assume:
        return s.Assume(_span(children), children[1], children[-1])

    def enforce(self, children: list[Any]) -> s.Enforce:
        image = _after(children, "ARROW")
        return s.Enforce(_span(children), children[1], children[2].text, children[4], image)

    def path(self, children: list[Any]) -> s.Path:
        return s.Path(_span(children), _exprs(children))

    # networks

    def chain(self, children: list[Any]) -> _Clause:
        return self._clause("chain", children)

    def graph(self, children: list[Any]) -> _Clause:
        return self._clause("graph", children)

    def free(self, children: list[Any]) -> _Clause:
        return self._clause("free", children)

    def with_(self, children: list[Any]) -> _Clause:
        clause = self._clause("with", children)
        _refuse_repeated(clause.nodes)
        return clause

    def _clause(self, kind: str, children: list[Any]) -> _Clause:
        return _Clause(_span(children), kind, tuple(child for child in children if isinstance(child, s.Node)))

    def layer(self, children: list[Any]) -> s.Layer:
        named = isinstance(children[1], Token) and children[1].type == "COLON" if len(children) > 1 else False
        name, rest = (children[0], children[2:]) if named else (None, children)
        args: list[s.Expr] = []
        settings: list[s.Setting] = []
        for child in rest[1:]:
            if isinstance(child, Token):
                continue
            setting = self._layer_setting(child)
            if setting is None:
                args.append(child)
            else:
                settings.append(setting)
        _refuse_repeated(settings)
        return s.Layer(_span(children), name, rest[0], tuple(args), tuple(settings))

    named_layer = layer  # the grammar wants a name there

    def _layer_setting(self, child: s.Expr | s.Keyword) -> s.Setting | None:
        """What an argument of a layer sets: `bias = none`, `weights in -1..1`, `l0 <= 6`; None for a plain value."""
        if isinstance(child, s.Keyword):
            return s.Setting(child.span, child.name, "=", child.value)
        if isinstance(child, s.Comparison) and len(child.operands) == 2 and isinstance(child.operands[0], s.Name):
            return s.Setting(child.span, child.operands[0], child.operators[0], child.operands[1])
        return None

    def setting(self, children: list[Any]) -> s.Setting:
        return s.Setting(_span(children), children[0], _operator(children[1]), children[2])

    # expressions

    def if_then_else(self, children: list[Any]) -> s.IfThenElse:
        return s.IfThenElse(_span(children), children[1], children[3], children[5])

    def implies(self, children: list[Any]) -> s.Implies:
        return s.Implies(_span(children), children[0], children[2])

    def or_(self, children: list[Any]) -> s.Or:
        return s.Or(_span(children), tuple(children[::2]))

    def and_(self, children: list[Any]) -> s.And:
        return s.And(_span(children), tuple(children[::2]))

    def not_(self, children: list[Any]) -> s.Not:
        return s.Not(_span(children), children[1])

    def comparison(self, children: list[Any]) -> s.Comparison:
        return s.Comparison(_span(children), tuple(children[::2]), tuple(map(_operator, children[1::2])))

    def range(self, children: list[Any]) -> s.Range:
        return s.Range(_span(children), children[0], children[2])

    def sum(self, children: list[Any]) -> s.Sum:
        return s.Sum(_span(children), tuple(children[::2]), tuple(child.text for child in children[1::2]))

    def product(self, children: list[Any]) -> s.Product:
        return s.Product(_span(children), tuple(children[::2]), tuple(child.text for child in children[1::2]))

    def negative(self, children: list[Any]) -> s.Negative:
        return s.Negative(_span(children), children[1])

    def power(self, children: list[Any]) -> s.Power:
        return s.Power(_span(children), children[0], children[2])

    def item(self, children: list[Any]) -> s.Item:
        return s.Item(_span(children), children[0], _exprs(children[1:]))

    def attribute(self, children: list[Any]) -> s.Attribute:
        return s.Attribute(_span(children), children[0], children[2])

    def call(self, children: list[Any]) -> s.Call:
        args: list[s.Expr] = []
        keywords: list[s.Keyword] = []
        for child in children[2:-1]:
            if isinstance(child, s.Keyword):
                keywords.append(child)
            elif isinstance(child, s.Expr):
                if keywords:
                    message = "positional argument after a named one"
                    raise Problem(
                        diagnostic("NNS013", message, child.span, help="put it before the named ones, or name it")
                    )
                args.append(child)
        _refuse_repeated(keywords)
        return s.Call(_span(children), children[0], tuple(args), tuple(keywords))

    def parentheses(self, children: list[Any]) -> s.Expr:
        return replace(children[1], span=_span(children))

    def array(self, children: list[Any]) -> s.Array:
        return s.Array(_span(children), _exprs(children))

    def set_literal(self, children: list[Any]) -> s.SetLiteral:
        return s.SetLiteral(_span(children), _exprs(children))

    def keyword(self, children: list[Any]) -> s.Keyword:
        return s.Keyword(_span(children), children[0], children[2])

    def comprehension(self, children: list[Any]) -> s.Comprehension:
        return s.Comprehension(_span(children), children[0], *_generators(children))

    def generator(self, children: list[Any]) -> s.Generator:
        return s.Generator(_span(children), _exprs(children[:-1]), children[-1])

    def condition(self, children: list[Any]) -> _Condition:
        return _Condition(_span(children), children[1])
