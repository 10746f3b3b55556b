"""The other commands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from nnspec.formats.onnx.run import run as run_file

HEAVY = (
    "onnx", "onnxruntime", "pyscipopt", "highspy", "gurobipy", "pyomo", "numba", "scipy", "sklearn", "pyarrow", "rich",
    "pandas",
)  # fmt: skip


def test_help_names_every_command(nnspec):
    ended = nnspec("--help")
    assert ended.status == 0
    for name in ("check", "fmt", "info", "compile", "solve", "export", "embed", "backends", "verify"):
        assert f"  {name} " in ended.out
        assert nnspec(name, "--help").status == 0


def test_wrong_commands(nnspec, xor):
    assert nnspec("sovle", xor).status == 2
    assert "did you mean solve?" in nnspec("sovle", xor).err
    assert "nnspec solve xor.nns" in nnspec("xor.nns").err
    assert nnspec("solve").status == 2


def test_check(nnspec, xor, tmp_path):
    ended = nnspec("check", xor)
    assert (ended.status, ended.out, ended.err) == (0, f"{xor}: ok\n", "")
    (tmp_path / "bad.nns").write_text(
        "data D = table(x = [[0]], y = [0])\nnet f = input(1) -> dens(1)\nminimize sse(f, D)\n"
    )
    ended = nnspec("check", xor, "bad.nns")
    assert ended.status == 1
    assert "bad.nns:2:" in ended.err
    ended = nnspec("check", "bad.nns", "--json")
    assert ended.status == 1
    assert ended.json["ok"] is False
    place = ended.json["diagnostics"][0]["places"][0]
    assert (place["file"], place["line"]) == ("bad.nns", 2)


def test_check_imports_no_solver_and_no_framework(xor):
    """What keeps the start short: heavy packages are imported only by what uses them."""
    code = (
        "import sys; from nnspec.cli.main import run; "
        f"status = run(['check', {str(xor)!r}]); print(status, sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "0 []"


def test_fmt(nnspec, xor, tmp_path):
    messy = tmp_path / "m.nns"
    messy.write_text("var x in 0..1;maximize   x # best\n")
    assert nnspec("fmt", "--check", messy).status == 1
    assert nnspec("fmt", "--diff", messy).status == 1
    assert messy.read_text() == "var x in 0..1;maximize   x # best\n"
    assert nnspec("fmt", messy).status == 0
    assert messy.read_text() == "var x in 0..1\nmaximize x  # best\n"
    assert nnspec("fmt", "--check", messy).status == 0
    assert nnspec("fmt", "missing.nns").status == 1


def test_info(nnspec, xor):
    ended = nnspec("info", xor)
    assert ended.status == 0
    assert "data D: 4 samples" in ended.out
    assert "net f: 9 weights and biases to train" in ended.out
    assert nnspec("info", xor, "--json").json["networks"][0]["to_train"] == 9


@pytest.mark.parametrize("stage", ["tree", "problem", "reduced", "program"])
@pytest.mark.parametrize("command", ["solve", "compile"])
def test_stages_can_be_printed(nnspec, xor, stage, command):
    ended = nnspec(command, xor, "--dump", stage)
    assert ended.status == 0
    assert len(ended.out.splitlines()) > 20


def test_backends(nnspec):
    assert "SCIP" in nnspec("backends").out
    assert {"scip"} <= {b["name"] for b in nnspec("backends", "--json").json}


def test_engines_are_compiled_ahead(nnspec, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "nnspec.engines.ahead.compile_parts", lambda wanted: asked.extend(wanted) or [("cells", "errors")]
    )
    ended = nnspec("backends", "--compile")
    assert ended.status == 70
    assert "part errors of cells" in ended.out
    assert f"compiled {len(asked) - 1} of {len(asked)} parts" in ended.out
    assert {engine for engine, _ in asked} == {"boxes", "cells"}
    assert nnspec("backends", "--compile", "--json").json["failed"] == ["cells:errors"]


def test_export_and_verify(nnspec, xor, tmp_path):
    nnspec("solve", xor)
    assert nnspec("export", "xor.out", "-o", "g.onnx", "--dtype", "float32").status == 0
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_allclose(run_file(tmp_path / "g.onnx", x).ravel(), [0, 1, 1, 0], atol=1e-3)
    assert nnspec("export", "xor.out", "-o", "g.onnx").status == 2
    assert nnspec("export", "xor.out", "-o", "h.onnx", "--network", "z").status == 2

    assert nnspec("verify", "xor.out").status == 0
    ended = nnspec("verify", "xor.out", "--spec", xor, "--json")
    assert ended.status == 0
    assert ended.json["ok"] is True
    record = json.loads((tmp_path / "xor.out" / "solution.json").read_text())
    record["objective"] = -1.0
    (tmp_path / "xor.out" / "solution.json").write_text(json.dumps(record))
    assert nnspec("verify", "xor.out", "--spec", xor).status == 1
    content = bytearray((tmp_path / "xor.out" / "f.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "xor.out" / "f.onnx").write_bytes(bytes(content))
    assert nnspec("verify", "xor.out").status == 1
    assert nnspec("verify", "nowhere").status == 2


def test_an_unexpected_error_is_reported_as_a_defect(monkeypatch, capfd):
    import nnspec.language.load
    from nnspec.cli.main import run

    def broken(*anything):
        raise RuntimeError("broken")

    monkeypatch.setattr(nnspec.language.load, "check", broken)
    assert run(["check", "x.nns"]) == 70
    captured = capfd.readouterr()
    assert "internal error: RuntimeError: broken" in captured.err
    assert "Traceback" not in captured.err


TANH = """data D = table(x = [[-1], [-0.5], [0], [0.5], [1]], y = [-1, -0.2, 0.2, 0.9, 0.7])
net f = input(1) -> h: dense(1, tanh) -> out: dense(1) with weights in -2..2, biases in -2..2
minimize sse(f, D) + 0.1 * l2(f, biases = true)
"""


def test_proofs_are_written_and_verified(nnspec, tmp_path):
    (tmp_path / "t.nns").write_text(TANH)
    assert nnspec("solve", "t.nns", "--gap", "1e-3", "--certificate", "proof.npz").status == 0
    ended = nnspec("verify", "proof.npz", "--spec", "t.nns")
    assert ended.status == 0
    assert "it is a proof about this spec" in ended.out
    (tmp_path / "other.nns").write_text(TANH.replace("0.9", "0.8"))
    assert nnspec("verify", "proof.npz", "--spec", "other.nns").status == 1
    content = (tmp_path / "proof.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    assert nnspec("verify", "cut.npz").status == 1
    ended = nnspec("verify", "cut.npz")
    assert "FAILS" in ended.out
    ended = nnspec("solve", "t.nns", "--certificate", "proof.npz", "--engine", "solver")
    assert ended.status == 1
    assert "writes no certificate" in ended.err
    assert nnspec("solve", "t.nns", "--certificate", "nowhere/proof.npz").status == 2


RELU = """data D = table(x = [[-1], [-0.5], [0], [0.5], [1]], y = [-1, -0.2, 0.2, 0.9, 0.7])
net f = input(1) -> h: dense(1, relu) -> out: dense(1) with weights in -2..2, biases in -2..2
minimize sse(f, D)
"""


SWAPPED = """data D = table(x = [[-1, 0], [0.5, 1], [1, -1], [0, 0.5]], y = [-1, 0.2, 0.9, 0.4])
net f = input(2) -> h: dense(2, relu) -> out: dense(1) with weights in -1..1, biases in -1..1
enforce f invariant under swap(0, 1)
minimize sae(f, D)
"""


def test_proofs_of_the_cells_engine(nnspec, tmp_path):
    (tmp_path / "r.nns").write_text(RELU)
    assert nnspec("solve", "r.nns", "--engine", "cells", "--certificate", "proof.gz").status == 0
    ended = nnspec("verify", "proof.gz", "r.nns")
    assert ended.status == 0
    assert "it is a proof about this spec" in ended.out
    for old, new in (("0.9", "0.8"), ("biases in -2..2", "biases in -3..3"), ("relu", "abs")):
        (tmp_path / "other.nns").write_text(RELU.replace(old, new))
        assert nnspec("verify", "proof.gz", "--spec", "other.nns").status == 1
    content = bytearray((tmp_path / "proof.gz").read_bytes())
    (tmp_path / "cut.gz").write_bytes(content[: len(content) // 2])
    assert nnspec("verify", "cut.gz").status == 1
    assert nnspec("verify", "proof.gz", "r.nns", "--spec", "r.nns").status == 2
    decayed = RELU.replace("minimize sse(f, D)", "minimize huber(f, D) + 0.02 * l2(f)\nconstraint few: neurons(f) <= 1")
    (tmp_path / "d.nns").write_text(decayed)
    assert nnspec("solve", "d.nns", "--engine", "cells", "--certificate", "d.gz").status == 0
    assert nnspec("verify", "d.gz", "d.nns").status == 0
    assert nnspec("verify", "d.gz", "r.nns").status == 1
    fewest = RELU.replace("minimize sse(f, D)", "minimize l0(f)\nconstraint fit: sse(f, D) <= 0.5")
    (tmp_path / "l.nns").write_text(fewest)
    assert nnspec("solve", "l.nns", "--engine", "cells", "--certificate", "l.gz").status == 0
    ended = nnspec("verify", "l.gz", "l.nns")
    assert (ended.status, "objective 3, bound 3" in ended.out) == (0, True)
    (tmp_path / "other.nns").write_text(fewest.replace("0.5", "0.6"))
    assert nnspec("verify", "l.gz", "other.nns").status == 1
    (tmp_path / "s.nns").write_text(SWAPPED)
    assert nnspec("solve", "s.nns", "--engine", "cells", "--certificate", "s.gz").status == 0
    ended = nnspec("verify", "s.gz", "s.nns")
    assert (ended.status, "of 2 cases" in ended.out) == (0, True)
    assert nnspec("solve", "r.nns", "--engine", "cells", "--checkpoint", "state").status == 0
    (tmp_path / "state").write_bytes(b"junk")
    ended = nnspec("solve", "r.nns", "--engine", "cells", "--checkpoint", "state")
    assert (ended.status, "NNS171" in ended.err) == (2, True)
    ended = nnspec("solve", "r.nns", "--engine", "solver", "--checkpoint", "state")
    assert (ended.status, "writes no checkpoint" in ended.err) == (1, True)


@pytest.mark.parametrize(("statements", "changed"), [
    ("minimize errors(f, D)", "minimize 2 * errors(f, D)"),
    ("minimize l0(f)\nconstraint fit: sse(f, D) <= 1.7", "minimize l0(f)\nconstraint fit: sse(f, D) <= 1.6"),
])  # fmt: skip
def test_checkpoints_of_the_cells_engine(nnspec, tmp_path, statements, changed):
    rows = ", ".join(f"[{float(i)}]" for i in range(8))
    head = f"data D = table(x = [{rows}], y = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0])\n"
    head += "net f = input(1) -> dense(2, relu) -> dense(1)\n"
    (tmp_path / "s.nns").write_text(head + statements)
    (tmp_path / "other.nns").write_text(head + changed)
    common = ("--engine", "cells", "--force", "--checkpoint", "state")
    ended = nnspec("solve", "s.nns", *common, "--node-limit", "1")
    assert "stopped at the limit" in ended.out
    state = (tmp_path / "state").read_bytes()
    ended = nnspec("solve", "other.nns", *common)
    assert (ended.status, "another problem" in ended.err) == (2, True)
    (tmp_path / "state").write_bytes(state[:-1])
    ended = nnspec("solve", "s.nns", *common)
    assert (ended.status, "changed or cut off" in ended.err) == (2, True)
    (tmp_path / "state").write_bytes(state)
    ended = nnspec("solve", "s.nns", *common)
    assert (ended.status, "proven optimal" in ended.out) == (0, True)
    assert not (tmp_path / "state").exists()
