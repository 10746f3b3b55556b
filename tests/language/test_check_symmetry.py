"""break symmetry, assume, enforce: sound ones are accepted, others refused."""

from __future__ import annotations

import pytest
from checking import error, errors, problem

HEAD = "net f = input(2) -> h: dense(2, {a}) -> out: dense(1) with weights in {w}, biases in {b}\n"


def refused(
    statement: str, a: str = "relu", w: str = "-4..4", b: str = "-4..4", more: str = "minimize l2(f)"
) -> list[str]:
    return [d.code for d in errors(HEAD.format(a=a, w=w, b=b) + statement + "\n" + more)]


@pytest.mark.parametrize(
    ("kind", "activation", "weights", "biases", "sound"),
    [
        ("permutation", "relu", "-4..4", "-4..4", True),
        ("permutation", "gelu", "{1, 2}", "0..1", True),
        ("signflip", "tanh", "-4..4", "-4..4", True),
        ("signflip", "sign", "{-1, 0, 1}", "int(-2..2)", True),
        ("signflip", "hardtanh", "real", "real", True),
        ("signflip", "relu", "-4..4", "-4..4", False),
        ("signflip", "sigmoid", "-4..4", "-4..4", False),
        ("signflip", "tanh", "-4..3", "-4..4", False),
        ("signflip", "tanh", "{-1, 0, 2}", "-4..4", False),
        ("signflip", "tanh", "-4..4", "0..4", False),
        ("scaling", "relu", "-4..4", "-4..4", True),
        ("scaling", "leaky_relu(0.1)", "-4..4", "-4..4", True),
        ("scaling", "abs", "real", "real", True),
        ("scaling", "tanh", "-4..4", "-4..4", False),
        ("scaling", "hardtanh", "-4..4", "-4..4", False),
        ("scaling", "relu", "{-1, 1}", "-4..4", False),
        ("scaling", "relu", "-4..4", "int(-4..4)", False),
    ],
)
def test_soundness_by_activation_and_range(kind: str, activation: str, weights: str, biases: str, sound: bool) -> None:
    for target in ("f", "f.h"):
        assert refused(f"break symmetry {target}: {kind}", activation, weights, biases) == ([] if sound else ["NNS081"])


@pytest.mark.parametrize(
    ("more", "unsound"),
    [
        ("minimize l2(f)", set()),
        ("minimize l0(f.h)", set()),
        ("minimize l1(f)", {"scaling"}),
        ("minimize l1(f.out)", {"scaling"}),
        ("minimize l0(f.h[0])", {"permutation"}),
        ("minimize l2(f) + f.h.weights[0, 0]", {"permutation", "scaling", "signflip"}),
        ("minimize l2(f) + f.out.weights[0, 1]", {"permutation", "scaling", "signflip"}),
        ("minimize l2(f) + f.out.bias[0]", set()),
    ],
)
def test_soundness_by_what_the_spec_names(more: str, unsound: set[str]) -> None:
    for kind, activation in (("permutation", "relu"), ("scaling", "relu"), ("signflip", "tanh")):
        assert refused(f"break symmetry f.h: {kind}", activation, more=more) == (["NNS081"] if kind in unsound else [])


def test_activation_layers_between_count_too() -> None:
    text = "net f = input(2) -> h: dense(2) -> activation({a}) -> dense(1) with weights in -1..1, biases in -1..1\n"
    for a, codes in (("tanh", []), ("relu", ["NNS081"])):
        assert [d.code for d in errors(text.format(a=a) + "break symmetry f.h: signflip\nminimize l2(f)")] == codes


def test_neurons_that_a_skip_connection_mixes_have_no_symmetry() -> None:
    text = "net f {{ x: input(2)  h: dense(x, 2, {a})  s: {how}  y: dense(s, 1) }}\n"
    text += "break symmetry f.h: {kind}\nminimize l2(f)"
    for kind, a in (("permutation", "relu"), ("signflip", "tanh"), ("scaling", "relu")):
        assert [d.code for d in errors(text.format(a=a, how="add(x, h)", kind=kind))] == ["NNS081"]
        assert errors(text.format(a=a, how="concat(x, h)", kind=kind)) == []


def test_auto_and_none_are_always_accepted() -> None:
    assert refused("break symmetry f: auto") == []
    assert refused("break symmetry f.h: none", more="minimize l1(f) + f.h.weights[0, 0]") == []
    assert refused("break symmetry f.h: none, auto") == ["NNS086"]
    assert refused("break symmetry f.out: permutation") == ["NNS081"]
    assert refused("break symmetry f.h: permutation\nbreak symmetry f.h: none") == ["NNS086"]
    assert refused("break symmetry g.h: none") == ["NNS020"]
    assert refused("break symmetry f.g: none") == ["NNS049"]


# --- assume ----------------------------------------------------------------------------------------------------------


def claim(rows: str, targets: str, group: str, more: str = "") -> list[str]:
    text = f"data D = table(x = {rows}, y = {targets}{more})\nassume D invariant under {group}\n"
    outputs = targets.count("[") - 1 or 1
    return [d.code for d in errors(text + f"net f = input() -> dense({outputs})\nminimize sse(f, D)")]


@pytest.mark.parametrize(
    ("rows", "targets", "group", "true"),
    [
        ("[[1, 2], [2, 1], [3, 3]]", "[5, 5, 1]", "swap(0, 1)", True),
        ("[[1, 2], [2, 1], [3, 3]]", "[5, 6, 1]", "swap(0, 1)", False),
        ("[[1, 2], [3, 3]]", "[5, 1]", "swap(0, 1)", False),
        ("[[1, 2], [1, 2], [2, 1]]", "[5, 5, 5]", "swap(0, 1)", False),  # occurs twice, its image once
        ("[[1, 2], [1, 2], [2, 1], [2, 1]]", "[5, 6, 6, 5]", "swap(0, 1)", True),
        ("[[1, 2], [-1, 2], [0, 7]]", "[5, 5, 1]", "signflip(0)", True),
        ("[[1, 2], [-1, 2], [0, 7]]", "[5, 5, 1]", "signflip(1)", False),
        ("[[1, 2, 3], [2, 3, 1], [3, 1, 2]]", "[4, 4, 4]", "cyclic(3)", True),
        ("[[1, 2, 3], [2, 3, 1], [3, 1, 2]]", "[4, 4, 4]", "permutations(0..2)", False),
        ("[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]", "[1, 1, 1, 1]", "d4(2, 2)", True),
        ("[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]", "[1, 1, 1]", "d4(2, 2)", False),
        ("[[1, 1, 0, 0], [0, 0, 1, 1]]", "[1, 1]", "translations(2, 2)", True),
        ("[[1, 1, 0, 0], [0, 0, 1, 1]]", "[1, 1]", "d4(2, 2)", False),
        ("[[1, 2], [2, 1]]", "[[5, 6], [5, 6]]", "group([1, 0])", True),
    ],
)
def test_assumptions_are_checked_on_the_data(rows: str, targets: str, group: str, true: bool) -> None:
    assert claim(rows, targets, group) == ([] if true else ["NNS084"])


def test_scaling_that_breaks_an_assumption_is_said() -> None:
    assert claim("[[-1, 2], [1, 2]]", "[5, 5]", "signflip(0)") == []
    assert claim("[[-1, 2], [1, 2]]", "[5, 5]", "signflip(0)", ", scale = minmax") == ["NNS085"]
    assert claim("[[2, 1], [1, 2]]", "[5, 5]", "swap(0, 1)", ", scale = minmax") == []


def test_offending_rows_are_shown_with_their_targets() -> None:
    d = error(
        "data D = table(x = [[1, 2], [2, 1], [7, 8]], y = [5, 6, 1])\nassume D invariant under swap(0, 1)\nsatisfy"
    )
    shown = " ".join(label.text for label in d.labels)
    assert "row 1: target 5, but its image (2, 1) has target 6 in row 2" in shown
    assert "row 3: (7, 8) is there, but its image (8, 7) is not" in shown


# --- enforce ---------------------------------------------------------------------------------------------------------

NAMED = "net f = input(2) -> dense(3, tanh) -> dense({m}) with weights in -1..1, biases in -1..1\nminimize l2(f)\n"


@pytest.mark.parametrize(
    ("m", "what", "codes"),
    [
        (1, "invariant under swap(0, 1)", []),
        (1, "invariant under signflip(1)", []),
        (1, "equivariant under signflip(0) -> signflip(0)", []),
        (2, "equivariant under swap(0, 1)", []),
        (2, "equivariant under permutations(0..1)", []),
        (3, "equivariant under swap(0, 1)", ["NNS083"]),
        (3, "equivariant under swap(0, 1) -> swap(0, 2)", []),
        (3, "equivariant under swap(0, 1) -> cyclic(3)", ["NNS083"]),
        (3, "equivariant under swap(0, 1) -> permutations(0..2)", ["NNS083"]),
        (1, "invariant under swap(0, 5)", ["NNS083"]),
        (1, "invariant under swap(0, 0)", ["NNS082"]),
        (1, "invariant under translations(2, 2)", ["NNS083"]),
        (1, "invariant under cyclic(1.5)", ["NNS082"]),
    ],
)
def test_enforced_symmetries_must_fit_the_network(m: int, what: str, codes: list[str]) -> None:
    assert [d.code for d in errors(NAMED.format(m=m) + f"enforce f {what}")] == codes


def test_equivariance_keeps_both_groups() -> None:
    p = problem(NAMED.format(m=1) + "enforce f equivariant under signflip(0) -> signflip(0)")
    (c,) = p.symmetry_claims
    assert c.group.generators == (((0, 1), (-1, 1)),)
    assert c.output_group is not None
    assert c.output_group.generators == (((0,), (-1,)),)


def test_images_are_turned_on_every_channel() -> None:
    p = problem("net f = input(3, 4, 4) -> flatten -> dense(1)\nenforce f invariant under d4(4, 4)\nminimize l2(f)")
    images, _ = p.symmetry_claims[0].group.generators[0]
    assert len(images) == 48
    assert sorted(images[:16]) == list(range(16))
    assert [i - 16 for i in images[16:32]] == list(images[:16])


def test_an_enforced_symmetry_must_survive_the_scaling() -> None:
    text = "data D = table(x = [[1, 20], [2, 10]], y = [0, 1]{s})\nnet f = input() -> dense(1)\n"
    tail = "enforce f {what}\nminimize sse(f, D)"
    swap, flip = "invariant under swap(0, 1)", "equivariant under signflip(0) -> signflip(0)"
    assert errors(text.format(s="") + tail.format(what=swap)) == []
    assert error(text.format(s=", scale = minmax") + tail.format(what=swap)).code == "NNS085"
    assert error(text.format(s=", scale = minmax") + tail.format(what=flip)).code == "NNS085"
    assert (
        error(text.format(s=", scale_y = minmax").replace("[0, 1]", "[1, 3]") + tail.format(what=flip)).code == "NNS085"
    )


def test_column_names_stand_for_positions(tmp_path: object) -> None:
    from pathlib import Path

    from nnspec.language.load import check

    folder = Path(str(tmp_path))
    (folder / "d.csv").write_text("u,v,w\n1,2,3\n2,1,3\n")
    (folder / "s.nns").write_text(
        'data D = csv("d.csv", x = [u, v], y = w)\nnet f = input() -> dense(1)\nassume D invariant under swap(u, v)\n'
        "enforce f invariant under permutations(v, u)\nminimize sse(f, D)\n"
    )
    result = check(folder / "s.nns")
    assert result.diagnostics == ()
    assert result.problem is not None
    assert [c.group.generators for c in result.problem.symmetry_claims] == [(((1, 0), (1, 1)),)] * 2
