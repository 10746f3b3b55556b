"""nnspec solve: what it prints, writes and returns, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnspec.formats.onnx.run import run as run_file

LINES = "var x in 0..4\nvar n: int in 0..9\nmaximize gain: 2 * x + n\nconstraint room: x + n <= 7.5\n"

SLOW = """data D = csv("points.csv", x = [a, b], y = c)
net f = input(2) -> h: dense(4, relu) -> out: dense(1) with weights in -3..3, biases in -3..3
minimize sse(f, D)
"""


def slow_spec(folder):
    """A spec that no engine proves in seconds: noise in four dimensions of hidden neurons."""
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(folder / "points.csv", rows, delimiter=",", header="a,b,c", comments="")
    (folder / "slow.nns").write_text(SLOW)
    return folder / "slow.nns"


def test_xor_is_proven_and_its_files_give_the_targets(nnspec, xor, tmp_path):
    ended = nnspec("solve", xor, "--json")
    assert ended.status == 0
    result = ended.json
    assert {"status", "objective", "bound", "gap", "seconds", "nodes", "engine", "backend", "files"} <= set(result)
    assert result["status"] == "optimal"
    assert result["objective"] == pytest.approx(0, abs=1e-6)
    assert result["bound"] <= result["objective"] + 1e-9
    assert result["files"] == ["xor.out/f.onnx", "xor.out/f.float32.onnx", "xor.out/solution.json"]
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    for name, tolerance in (("f.onnx", 1e-3), ("f.float32.onnx", 1e-3)):
        np.testing.assert_allclose(run_file(tmp_path / "xor.out" / name, x).ravel(), [0, 1, 1, 0], atol=tolerance)


def test_record_holds_weights_hashes_and_versions(nnspec, xor, tmp_path):
    nnspec("solve", xor, "--gap", "1e-4", "--seed", "3")
    record = json.loads((tmp_path / "xor.out" / "solution.json").read_text())
    assert set(record["networks"]["f"]) == {"h", "dense1"}
    assert np.shape(record["networks"]["f"]["h"]["weights"]) == (2, 2)
    assert record["hashes"] == {"xor.nns": hashlib.sha256(xor.read_bytes()).hexdigest()}
    assert {"nnspec", "python", "onnxruntime"} <= set(record["versions"])
    assert record["settings"]["gap"] == 1e-4
    assert record["settings"]["seed"] == 3
    for name in ("f.onnx", "f.float32.onnx"):
        content = (tmp_path / "xor.out" / name).read_bytes()
        assert record["file_hashes"][name] == hashlib.sha256(content).hexdigest()
    assert record["evidence"]


def test_decisions_only(nnspec, tmp_path):
    (tmp_path / "d.nns").write_text(LINES)
    ended = nnspec("solve", "d.nns")
    assert ended.status == 0
    assert "gain 11, bound 11" in ended.out
    assert "x = 4" in ended.out
    ended = nnspec("solve", "d.nns", "--json")
    assert ended.json["variables"] == {"x": pytest.approx(4), "n": 3}
    assert ended.json["files"] == ["d.out/solution.json"]


def test_spec_on_stdin(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "nnspec", "solve", "-", "--json"],
        input=LINES,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["objective"] == pytest.approx(11)


@pytest.mark.parametrize(
    ("constraint", "status", "word"),
    [("x >= 5", 3, "infeasible"), ("x + n >= 3", 0, "optimal")],
)
def test_exit_status(nnspec, tmp_path, constraint, status, word):
    (tmp_path / "d.nns").write_text(f"{LINES}constraint more: {constraint}\n")
    ended = nnspec("solve", "d.nns")
    assert ended.status == status
    assert word in ended.out


def test_parameters_by_flag_and_file(nnspec, tmp_path):
    (tmp_path / "p.nns").write_text("param top: real\nvar x in 0..9\nmaximize x\nconstraint x <= top\n")
    assert nnspec("solve", "p.nns").status == 1
    assert nnspec("solve", "p.nns", "-D", "top=2", "--json").json["objective"] == pytest.approx(2)
    (tmp_path / "v.json").write_text('{"top": 3}')
    assert nnspec("solve", "p.nns", "--params", "v.json", "--json").json["objective"] == pytest.approx(3)
    assert nnspec("solve", "p.nns", "--params", "v.json", "-D", "top=4", "--json").json["objective"] == pytest.approx(4)
    assert nnspec("solve", "p.nns", "-D", "top").status == 2
    assert nnspec("solve", "p.nns", "--params", "missing.json").status == 2
    (tmp_path / "v.json").write_text("[1, 2")
    assert nnspec("solve", "p.nns", "--params", "v.json").status == 2


def test_settings_beside_the_spec(nnspec, tmp_path):
    (tmp_path / "d.nns").write_text(LINES)
    (tmp_path / "nnspec.toml").write_text("gap = 1e-3\nseed = 5\n")
    nnspec("solve", "d.nns", "--seed", "7")
    settings = json.loads((tmp_path / "d.out" / "solution.json").read_text())["settings"]
    assert (settings["gap"], settings["seed"]) == (1e-3, 7)
    (tmp_path / "nnspec.toml").write_text("time_limt = 10\n")
    ended = nnspec("solve", "d.nns")
    assert ended.status == 2
    assert "did you mean time_limit?" in ended.err


@pytest.mark.parametrize(
    "flags",
    [("--gap", "-1"), ("--threads", "x"), ("--time-limit", "nan"), ("--seed", "-3"), ("--nonsense",),
     ("--encoding", "relu"), ("--backend", "cplecks"), ("--engine", "steam"), ("--encoding", "relu=nothing")],
)  # fmt: skip
def test_wrong_flags_are_usage_errors(nnspec, xor, flags):
    ended = nnspec("solve", xor, *flags)
    assert ended.status == 2
    assert ended.err
    assert not ended.out


def test_errors_of_the_spec(nnspec, tmp_path):
    (tmp_path / "bad.nns").write_text("minimize sse(f, D)\n")
    ended = nnspec("solve", "bad.nns")
    assert ended.status == 1
    assert "error[NNS" in ended.err
    assert nnspec("solve", "missing.nns").status == 1
    ended = nnspec("solve", "bad.nns", "--json")
    assert ended.json["status"] == "error"
    assert ended.json["diagnostics"][0]["places"][0]["line"] == 1


def test_stopped_without_a_solution(nnspec, tmp_path):
    (tmp_path / "d.nns").write_text(LINES)
    ended = nnspec("solve", "d.nns", "--time-limit", "0", "--json")
    assert (ended.status, ended.json["status"], ended.json["objective"]) == (5, "limit", None)


def test_files_of_others_are_not_overwritten(nnspec, xor, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "f.onnx").write_text("mine")
    ended = nnspec("solve", xor, "--out", "results")
    assert ended.status == 2
    assert "--force" in ended.err
    assert (folder / "f.onnx").read_text() == "mine"
    assert not (folder / "solution.json").exists()
    assert nnspec("solve", xor, "--out", "results", "--force").status == 0
    assert nnspec("solve", xor, "--out", "results").status == 0  # ours now
    (folder / "f.onnx").write_text("edited")
    assert nnspec("solve", xor, "--out", "results").status == 2
    (folder / "solution.json").write_text('{"somebody": "else"}')
    assert nnspec("solve", xor, "--out", "results").status == 2


def test_folder_that_cannot_be_written(nnspec, xor, tmp_path):
    (tmp_path / "file").write_text("")
    ended = nnspec("solve", xor, "--out", "file/deeper")
    assert ended.status == 2
    assert "not a folder" in ended.err


def test_stream(nnspec, xor):
    ended = nnspec("solve", xor, "--json-stream")
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert events[-1]["event"] == "result"
    assert events[-1]["status"] == "optimal"
    assert all(e["event"] in ("progress", "incumbent") for e in events[:-1])


def test_quiet_in_a_pipe(nnspec, xor):
    assert nnspec("solve", xor).err == ""


def test_time_limit_gives_a_network(nnspec, tmp_path):
    ended = nnspec("solve", slow_spec(tmp_path), "--time-limit", "2", "--json")
    assert ended.status == 4
    assert ended.json["status"] == "limit"
    assert ended.json["objective"] >= ended.json["bound"]
    assert (tmp_path / "slow.out" / "f.onnx").exists()


def test_interrupt_gives_the_best_network_so_far(tmp_path):
    slow_spec(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "nnspec", "solve", "slow.nns", "--json-stream"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while '"incumbent"' not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    result = json.loads(out.splitlines()[-1])
    assert (process.returncode, result["status"]) == (4, "interrupted")
    assert (tmp_path / "slow.out" / "f.onnx").exists()
    assert "Traceback" not in err


def test_closed_pipe(tmp_path):
    (tmp_path / "d.nns").write_text(LINES)
    ended = subprocess.run(
        f"{sys.executable} -m nnspec solve d.nns --dump problem | head -c 1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(ended.stdout) == 1
    assert ended.stderr == ""


def test_families_of_variables_share_a_line():
    from nnspec.cli.solve import SHOWN, families

    assert families({"made[a,0]": 0.0, "made[a,1]": 18.0, "y": 2.5}) == ["made[a,0..1] = 0 18", "y = 2.5"]
    assert families({"x[1]": 1.0, "x[3]": 2.0}) == ["x[1,3] = 1 2"]
    assert families({"x[red]": 1.0, "x[blue]": 0.0}) == ["x[red,blue] = 1 0"]
    (line,) = families({f"x[{i}]": 0.0 for i in range(3000)})
    assert line.startswith("x[0..2999] = 0 0")
    assert line.endswith(f"0 ... and {3000 - SHOWN:,} more")
    assert families({f"v{i}": 0.0 for i in range(100)})[-1] == "... and 80 lines more in solution.json"
