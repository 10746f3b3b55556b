"""The syntax tree of a spec: frozen dataclasses, each with the span of text it was read from.

Spans take no part in comparison, so two specs that differ in layout only are equal. `nnspec.language.parser.parse`
builds the tree:

    parse(source: Source) -> tuple[Spec, list[Diagnostic]]

It reports all syntax errors of the text in one pass and keeps every statement that could be read. Statements of
included files are spliced in by

    nnspec.language.includes.load_includes(spec: Spec, root: Path) -> tuple[Spec, list[Diagnostic]]

where `root` is the folder of the main spec. Each span knows its `Source`, so a statement knows the file it stands in.

Sums, products, comparisons, `and` and `or` are n-ary, so that a sum of a thousand terms is one node and not a tower.
The parser bounds the depth of every tree by `MAX_DEPTH`: recursive functions over it are safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from nnspec.errors import Source, Span

MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Node:
    """Anything read from the text."""

    span: Span = field(compare=False, repr=False)


def children(node: Node) -> Iterator[Node]:
    """The nodes right below a node, in the order of the text."""
    for field_ in fields(node)[1:]:
        value = getattr(node, field_.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for entry in value:
                if isinstance(entry, Node):
                    yield entry


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """Anything that has a value."""


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """`3` is an int; `0.5`, `3.0` and `1e3` are floats. Always finite and not negative."""

    value: int | float


@dataclass(frozen=True, slots=True)
class String(Expr):
    """`"house.csv"`, escapes already resolved."""

    value: str


@dataclass(frozen=True, slots=True)
class Name(Expr):
    """A name, used or declared."""

    name: str


@dataclass(frozen=True, slots=True)
class Negative(Expr):
    """`-x`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Not(Expr):
    """`not x`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Sum(Expr):
    """`a + b - c`: operands (a, b, c), operators ("+", "-"); at least two operands."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product(Expr):
    """`a * b / c`, evaluated from left to right: operands (a, b, c), operators ("*", "/")."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Power(Expr):
    """`base ^ exponent`; binds tighter than unary minus, and to the right."""

    base: Expr
    exponent: Expr


@dataclass(frozen=True, slots=True)
class Comparison(Expr):
    """`a <= b < c`: operands (a, b, c), operators ("<=", "<"). Operators: <= >= == != < > in."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class And(Expr):
    """`a and b and c`."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or(Expr):
    """`a or b or c`."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Implies(Expr):
    """`premise ==> conclusion`; to the right: `a ==> b ==> c` is `a ==> (b ==> c)`."""

    premise: Expr
    conclusion: Expr


@dataclass(frozen=True, slots=True)
class IfThenElse(Expr):
    """`if condition then value else otherwise`."""

    condition: Expr
    value: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Range(Expr):
    """`low..high`, both ends included."""

    low: Expr
    high: Expr


@dataclass(frozen=True, slots=True)
class Array(Expr):
    """`[a, b, c]`, or `[e for i in S]`: then the only item is a Comprehension."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class SetLiteral(Expr):
    """`{a, b, c}`, or `{e for i in S}`: then the only item is a Comprehension. May be empty."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Generator(Node):
    """`i in S`, or `(x, y) in D` (then there are two names or more)."""

    names: tuple[Name, ...]
    domain: Expr


@dataclass(frozen=True, slots=True)
class Comprehension(Expr):
    """`element for i in S, j in T if condition`: the only argument of a call, or item of an array or a set."""

    element: Expr
    generators: tuple[Generator, ...]
    condition: Expr | None


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    """`name = value` among the arguments of a call."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """`function(args, keywords)`; keywords come after the positional arguments and are not repeated."""

    function: Expr
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Item(Expr):
    """`value[i, j]`; at least one index."""

    value: Expr
    indices: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Attribute(Expr):
    """`value.name`."""

    value: Expr
    name: Name


# --- statements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement(Node):
    """One statement of a spec; its span leaves out the optional `;`."""


@dataclass(frozen=True, slots=True)
class Include(Statement):
    """`include "file.nns"`; gone after `load_includes`."""

    path: String


@dataclass(frozen=True, slots=True)
class Param(Statement):
    """`param name: type in domain = default`; each but the name may be missing."""

    name: Name
    type: Name | None
    domain: Expr | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class SetDefinition(Statement):
    """`set name = value`."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Let(Statement):
    """`let name = value`."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Data(Statement):
    """`data name = source`, or `data a, b = split(...)`: then there are two names or more."""

    names: tuple[Name, ...]
    source: Expr


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`weights in -4..4` (operator "in"), `bias = none` ("="), `l0 <= 6` (a comparison operator)."""

    name: Name
    operator: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Layer(Node):
    """`h: dense(3, relu, l0 <= 6)`: name h, kind dense, args (3, relu), settings (l0 <= 6,).

    Keyword arguments (`stride = 2`) are settings with operator "=". `flatten` and `flatten()` are the same layer.
    """

    name: Name | None
    kind: Name
    args: tuple[Expr, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Net(Statement):
    """A network in one of three forms.

    "chain":  `net f = layer -> layer`; `layers` in order
    "graph":  `net f { x: input(8)  y: dense(x, 1) }`; every layer has a name; the last one is the output
    "import": `net f = onnx("f.onnx") free "layer"`; one layer, whose kind is the format and first argument the file

    `settings` are those after `with`; `free` names the imported layers whose weights become decisions again.
    """

    name: Name
    form: str
    layers: tuple[Layer, ...]
    free: tuple[String, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Var(Statement):
    """`var name[i in S, j in T if i < j]: type in domain`; each but the name may be missing."""

    name: Name
    generators: tuple[Generator, ...]
    condition: Expr | None
    type: Name | None
    domain: Expr | None


@dataclass(frozen=True, slots=True)
class Objective(Statement):
    """`minimize label: expression`; sense is "minimize", "maximize" or "satisfy" (then there is no expression)."""

    sense: str
    label: Name | None
    expression: Expr | None


@dataclass(frozen=True, slots=True)
class Constraint(Statement):
    """`constraint label: expression for i in S if condition`."""

    label: Name | None
    expression: Expr
    generators: tuple[Generator, ...]
    condition: Expr | None


@dataclass(frozen=True, slots=True)
class Path(Node):
    """`f.h1`: a network, and perhaps a layer of it."""

    parts: tuple[Name, ...]

    def __str__(self) -> str:
        return ".".join(part.name for part in self.parts)


@dataclass(frozen=True, slots=True)
class BreakSymmetry(Statement):
    """`break symmetry f.h: permutation, signflip`."""

    target: Path
    kinds: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Assume(Statement):
    """`assume D invariant under group`."""

    target: Path
    group: Expr


@dataclass(frozen=True, slots=True)
class Enforce(Statement):
    """`enforce f invariant under group`, or `enforce f equivariant under group -> image`."""

    target: Path
    kind: str  # "invariant" | "equivariant"
    group: Expr
    image: Expr | None


@dataclass(frozen=True, slots=True)
class Spec:
    """The statements of a text in order; after `load_includes`, those of the included files in their place."""

    source: Source = field(compare=False)
    statements: tuple[Statement, ...]
