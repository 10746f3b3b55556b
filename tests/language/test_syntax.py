"""The parser: every form of the language, precedence against Python's, spans, tables."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from nns_text import specs

from nnspec.language import syntax as s
from nnspec.language.includes import text_source
from nnspec.language.parser import parse


def read(text: str) -> tuple[s.Statement, ...]:
    spec, errors = parse(text_source(text))
    assert not errors, [str(error) for error in errors]
    return spec.statements


def expression(text: str) -> s.Expr:
    (statement,) = read(f"let result = {text}")
    assert isinstance(statement, s.Let)
    return statement.value


def name(text: str) -> s.Name:
    return s.Name(NOWHERE, text)


def number(value: float) -> s.Number:
    return s.Number(NOWHERE, value)


NOWHERE = expression("x").span  # spans take no part in comparisons


# --- forms -----------------------------------------------------------------------------------------------------------

FORMS = """
include "defaults.nns"
param tol: real = 0.05
param n
param file: string = "a.csv"
param k: int in 1..10 = 3
data D = table(x = [[0, 0], [0, 1]], y = [0, 1])
data D = csv("house.csv", x = [area, rooms], y = price, scale = minmax, scale_y = standard)
data D = npz("f.npz", x = images, y = labels)
data D = parquet("f.parquet", x = ["first column", b], y = label(species))
data train, test = split(D, 0.8, seed = 1)
net f = input(2) -> h: dense(2, relu) -> dense(1) with weights in -4..4, biases in -4..4
net f = input() -> conv(8, 3, stride = 2, padding = 1, relu) -> avgpool -> maxpool(2) -> flatten -> activation(tanh)
net f = input(4) -> dense(4, sign, weights in {-1, 1}, biases in -8..8) -> out: dense(3, weights in int(-8..8))
net f = input(4) -> dense(4, leaky_relu(0.1) with weights in binary, bias = none, l0 <= 6) with l0 <= 9
net f { x: input(8), a: dense(x, 4, relu), b: dense(a, 4, relu), s: add(a, b), c: concat(x, s), y: dense(c, 1) }
net f { x: input(8)  y: dense(x, 1); } with bias = none
net f = onnx("f.onnx")
net f = onnx("f.onnx") free "layer", "other" with weights in -4..4
var x in 0..10
var x: int in 0..10
var x: binary
var x
var x[i in 0..3, (a, b) in S if i < a]: int in 0..i
set S = {1, 2, 3}
set S = 0..n - 1
let y = if x >= 0 then x else -x
minimize sse(f, D)
minimize size: l0(f.h1.weights) + l0(f.h1[0]) + inputs(f)
maximize price * demand(price, ads) - 2 * ads
satisfy
constraint 1 <= demand(price, ads) <= 40
constraint gate: open == 0 ==> ads == 0 and not (x > 3) or a != b
constraint cap: x[i] + y[j] <= 3 for i in S, j in T if i != j
minimize sum((f(x) - y)^2 for (x, y) in D)
break symmetry f.h: permutation, signflip
break symmetry f: auto
assume D invariant under swap(0, 1)
enforce f invariant under group([1, 0], [0, 1])
enforce f equivariant under permutations(0..3)
enforce f equivariant under d4(3, 3) -> cyclic(4)
"""


@pytest.mark.parametrize("line", FORMS.strip().splitlines())
def test_each_form_is_read_as_one_statement(line: str) -> None:
    (statement,) = read(line)
    assert statement.span.text == line
    (again,) = read(line + ";")
    assert again == statement


def test_all_forms_together() -> None:
    assert [node.span.text for node in read(FORMS)] == FORMS.strip().splitlines()
    assert [node.span.text for node in read(FORMS.replace("\n", " "))] == FORMS.strip().splitlines()


def test_param() -> None:
    assert read("param k: int in 1..10 = 3") == (
        s.Param(NOWHERE, name("k"), name("int"), s.Range(NOWHERE, number(1), number(10)), number(3)),
    )
    assert read("param k") == (s.Param(NOWHERE, name("k"), None, None, None),)


def test_data() -> None:
    (split,) = read("data a, b = c")
    assert split == s.Data(NOWHERE, (name("a"), name("b")), name("c"))


def test_chain() -> None:
    (net,) = read("net f = input() -> h: dense(3, relu, l0 <= 6, bias = none) -> flatten with weights in binary")
    assert net == s.Net(
        NOWHERE,
        name("f"),
        "chain",
        (
            s.Layer(NOWHERE, None, name("input"), (), ()),
            s.Layer(
                NOWHERE,
                name("h"),
                name("dense"),
                (number(3), name("relu")),
                (
                    s.Setting(NOWHERE, name("l0"), "<=", number(6)),
                    s.Setting(NOWHERE, name("bias"), "=", name("none")),
                ),
            ),
            s.Layer(NOWHERE, None, name("flatten"), (), ()),
        ),
        (),
        (s.Setting(NOWHERE, name("weights"), "in", name("binary")),),
    )


def test_settings_after_with_in_a_layer_are_settings_of_the_layer() -> None:
    assert read("net f = dense(3, relu with l0 <= 6)") == read("net f = dense(3, relu, l0 <= 6)")


def test_positional_arguments_of_a_layer_may_follow_settings() -> None:
    assert read("net f = conv(8, 3, stride = 2, relu)") == read("net f = conv(8, 3, relu, stride = 2)")


def test_graph_and_import() -> None:
    graph, imported, chain = read('net f { x: input(8), y: dense(x, 1) } net g = onnx("g") free "a" net h = input(3)')
    assert isinstance(graph, s.Net)
    assert isinstance(imported, s.Net)
    assert isinstance(chain, s.Net)
    assert (graph.form, imported.form, chain.form) == ("graph", "import", "chain")
    assert [str(layer.name and layer.name.name) for layer in graph.layers] == ["x", "y"]
    assert imported.free == (s.String(NOWHERE, "a"),)


def test_var() -> None:
    (var,) = read("var x[i in S, (a, b) in T if c]: int in 0..3")
    assert var == s.Var(
        NOWHERE,
        name("x"),
        (s.Generator(NOWHERE, (name("i"),), name("S")), s.Generator(NOWHERE, (name("a"), name("b")), name("T"))),
        name("c"),
        name("int"),
        s.Range(NOWHERE, number(0), number(3)),
    )


def test_constraint() -> None:
    labelled, bare = read("constraint a: b for i in S if c  constraint a")
    assert labelled == s.Constraint(
        NOWHERE, name("a"), name("b"), (s.Generator(NOWHERE, (name("i"),), name("S")),), name("c")
    )
    assert bare == s.Constraint(NOWHERE, None, name("a"), (), None)


def test_symmetry_statements() -> None:
    broken, assumed, invariant, equivariant = read(
        "break symmetry f.h: a, b assume D invariant under G enforce f invariant under G "
        "enforce f equivariant under G -> H"
    )
    path = s.Path(NOWHERE, (name("f"), name("h")))
    assert str(path) == "f.h"
    assert broken == s.BreakSymmetry(NOWHERE, path, (name("a"), name("b")))
    assert assumed == s.Assume(NOWHERE, s.Path(NOWHERE, (name("D"),)), name("G"))
    f = s.Path(NOWHERE, (name("f"),))
    assert invariant == s.Enforce(NOWHERE, f, "invariant", name("G"), None)
    assert equivariant == s.Enforce(NOWHERE, f, "equivariant", name("G"), name("H"))


def test_calls_and_comprehensions() -> None:
    generator = s.Generator(NOWHERE, (name("i"),), name("S"))
    inside = s.Comprehension(NOWHERE, name("a"), (generator,), name("c"))
    assert expression("sum(a for i in S if c)") == s.Call(NOWHERE, name("sum"), (inside,), ())
    assert expression("[a for i in S if c]") == s.Array(NOWHERE, (inside,))
    assert expression("{a for i in S if c}") == s.SetLiteral(NOWHERE, (inside,))
    assert expression("{}") == s.SetLiteral(NOWHERE, ())
    keyword = s.Keyword(NOWHERE, name("k"), number(1))
    assert expression("f(a, k = 1,)") == s.Call(NOWHERE, name("f"), (name("a"),), (keyword,))
    assert expression("f.h[0, 1].w") == s.Attribute(
        NOWHERE,
        s.Item(NOWHERE, s.Attribute(NOWHERE, name("f"), name("h")), (number(0), number(1))),
        name("w"),
    )


def test_strings() -> None:
    assert expression(r'"a\"b\\c\nd\te#f"') == s.String(NOWHERE, 'a"b\\c\nd\te#f')


def test_numbers() -> None:
    ints, floats = ["0", "7", "123456789012345678901234567890"], ["0.5", "1e3", "1.5E-3", "3.0"]
    for text in ints + floats:
        node = expression(text)
        assert isinstance(node, s.Number)
        assert type(node.value) is (int if text in ints else float)
        assert node.value == (int(text) if text in ints else float(text))
    assert expression("0..10") == s.Range(NOWHERE, number(0), number(10))
    assert expression("0.5..1.5") == s.Range(NOWHERE, number(0.5), number(1.5))


def test_names_are_normalised_and_may_be_of_any_script() -> None:
    assert expression("gro\u0308\u00dfe") == name("größe")
    assert expression("名前") == name("名前")


def test_keywords_are_only_whole_words() -> None:
    assert expression("database + inD") == s.Sum(NOWHERE, (name("database"), name("inD")), ("+",))
    _, errors = parse(text_source("let x = sum(a for i inD)"))
    assert errors


# --- spans -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(specs())
def test_spans_nest_and_are_in_order(text: str) -> None:
    spec, errors = parse(text_source(text))
    assert not errors
    todo: list[s.Node] = list(spec.statements)
    while todo:
        node = todo.pop()
        assert node.span.text.strip() == node.span.text != ""
        below = list(s.children(node))
        for child in below:
            assert node.span.start <= child.span.start < child.span.end <= node.span.end
        if not isinstance(node, s.Layer | s.Call):  # settings and arguments may be mixed
            assert [child.span.start for child in below] == sorted(child.span.start for child in below)
        todo += below


def test_span_of_parentheses_includes_them() -> None:
    node = expression("(a + b) * c")
    assert isinstance(node, s.Product)
    assert node.operands[0].span.text == "(a + b)"
    assert node.span.text == "(a + b) * c"


def test_every_node_has_its_span_first() -> None:
    nodes = [node for node in vars(s).values() if isinstance(node, type) and issubclass(node, s.Node)]
    assert len(nodes) > 30
    assert all(fields(node)[0].name == "span" for node in nodes)


# --- what is kept of a text with errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("let a = 1\nlet b = \nlet c = 3", "ac"),
        ("let a = 1\nhello\nlet c = 3", "ac"),
        ("let a = 1 let = 2 let c = 3", "ac"),
        ("let a = 1 2\nlet c = 3", "c"),
        ("let a = 1 && 2\nlet c = 3", "ac"),
        ("let a = (1\nlet b = 2", "b"),
        ("let a = 1)\nlet b = 2", "b"),
        ("lett a = 1\nlet b = 2", "ab"),
        ("let a = 1\nlett b = 2 3\nlett c = 4", "ac"),
        ("let a = @\nlett b = 2", "b"),
        ('let a = "1\nlet b = 2', "b"),
        ("let data = 1\nlet b = [set, 2]", "datab"),
        ("minimize sse(f, data) let b = 2", "b"),
    ],
)
def test_statements_beside_errors_are_kept(text: str, kept: str) -> None:
    spec, errors = parse(text_source(text))
    assert errors
    assert "".join(node.name.name for node in spec.statements if isinstance(node, s.Let)) == kept
