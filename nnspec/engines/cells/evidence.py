"""Writes the proof of a solved problem as a file that `verify` re-checks without the engine (see `proof.statement`).

The engine's run gives the parts, the order of the samples and the values proven for its nested subsets. The trees are
built again here, in plain Python with the compiled interior-point method, with a certificate at every node that is
closed. Each one is tried on the verifier's own arithmetic before it is written. Meant for small problems: a node costs
half a millisecond.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from nnspec.engines.cells.claims import PartProof
from nnspec.engines.cells.duals import Duals
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.neurons import THRESHOLD
from nnspec.engines.cells.proof import halfplanes
from nnspec.engines.cells.proof.bounds import Signs
from nnspec.engines.cells.proof.exact import nonnegative_dependence
from nnspec.engines.cells.proof.statement import KEPT, VERSION, digest, left_by, load, prover_of, support_of
from nnspec.engines.cells.proof.training import Training, read
from nnspec.engines.cells.proof.tree import Path as NodePath
from nnspec.engines.cells.proof.tree import Prover
from nnspec.engines.cells.supports import indicator

SLACK = 1e-7
"""Relative amount by which the written claims stay below the engine's, so that exact re-checking has room."""

FEASIBLE = 1e-9
"""Samples that are missed by less in sum may all be right (errors)."""

AGAIN = (1e-9, 1e-3, np.inf)
"""How far above what is needed (relative) a bound is sought, one after the other while rounding spoils the certificate:
closer to the optimum the multipliers fulfil the linear conditions better."""

NODES = 200_000
"""Largest proof that is written."""


class Unwritten(Exception):
    """Why there is no file."""


def problem_of(problem: CellProblem) -> dict[str, Any]:
    """The problem as the file has it."""
    cells = problem.untied or problem

    def limits(a: Any) -> Any:
        if np.ndim(a) == 0:
            return None if np.isinf(a) else float(a)
        return [limits(v) for v in a]

    decay = cells.decay
    return {
        "activation": cells.activation.kind, "alpha": float(cells.activation.alpha), "loss": cells.kind,
        "quantile": float(cells.quantile), "margin": float(cells.margin), "delta": float(cells.delta),
        "x": cells.x.tolist(), "y": cells.y.tolist(), "weights": cells.weights.tolist(),
        "bias": cells.hidden.bias is not None, "output_bias": cells.output.bias is not None,
        "lo": limits(cells.lo), "hi": limits(cells.hi), "out_lo": limits(cells.out_lo), "out_hi": limits(cells.out_hi),
        "c_lo": limits(cells.c_lo), "c_hi": limits(cells.c_hi),
        "decay": {"hidden": np.zeros(cells.lo.shape).tolist() if decay is None else decay.hidden.tolist(),
                  "output": [0.0] * cells.neurons if decay is None else decay.output.tolist(),
                  "constant": 0.0 if decay is None else float(decay.constant)},
        "scale": float(cells.scale), "offset": float(cells.offset), "ties": _entries(problem),
    }  # fmt: skip


def _entries(cells: CellProblem) -> list[list[int]] | None:
    """The ties of the entries of (w, b) of all neurons, v and c, see `proof.orbits`."""
    if cells.ties is None:
        return None
    count, columns = cells.hidden.size, cells.x.shape[1] + 1
    entries = [[e, 1] for e in range(count * (columns + 1) + 1)]
    first: dict[tuple[bool, int], tuple[int, int]] = {}
    for places, signs, start, step in ((cells.ties.hidden, cells.ties.hidden_signs, 0, columns),
                                       (cells.ties.output, cells.ties.output_signs, count * columns, 1)):  # fmt: skip
        for k, j in np.ndindex(places.shape):
            e, sign = start + k * step + j, int(signs[k, j])
            head, turn = first.setdefault((start == 0, int(places[k, j])), (e, sign)) if sign != 0 else (e, 1)
            entries[e] = [head, sign * turn]
    return entries


@dataclass(eq=False)
class TreeWriter:
    """Builds the trees of one part."""

    prover: Prover
    duals: Duals
    budget: list[int]  # nodes that may still be written
    cuts: dict[tuple[int, tuple[tuple[int, tuple[int, ...]], ...]], list | None] = field(default_factory=dict)  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        problem = self.prover.bounds.problem
        self.sides = [[[np.array([float(v) for v in self.prover.side(k, i, c, c + 1)]) for c in
                        range(problem.pieces - 1)] for i in range(problem.samples)]
                      for k in range(len(self.prover.bounds.neurons))]  # fmt: skip
        # elimination is exact in any units; nnls wants rows of the same size
        self.units = []
        for place in self.prover.place:
            rows = np.array(self.sides[place])
            self.units.append(np.maximum(np.abs(rows).reshape(-1, rows.shape[-1]).max(axis=0), 1e-300))

    def tree(self, samples: list[int], value: Fraction) -> list:  # type: ignore[type-arg]
        """The proof of a statement, in preorder."""
        out: list = []  # type: ignore[type-arg]
        self._visit(frozenset(samples), value, [], list(range(len(self.prover.signs))), out)
        return out

    def _visit(self, left: frozenset[int], value: Fraction, path: NodePath, open_: list[int], out: list) -> None:  # type: ignore[type-arg]
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise Unwritten(f"the proof has more than {NODES} nodes")
        prover = self.prover
        for o, place in enumerate(prover.place):
            node = self._empty(path, o)
            if node is not None:
                out.append(["e", place.start, *node])
                return
        if prover.errors and prover.cost(path) + prover.rest(left) >= value:
            out.append(["w"])
            return
        penalised = prover.bounds.problem.penalised
        certificates: list = []  # type: ignore[type-arg]
        z = None
        kinds = [False] if not penalised else [True, False] if prover.rest(left) > 0 or not left else [True]
        whiches = ([-1] if len(open_) > 1 else []) + open_
        for which in whiches:
            signs = None if which == -1 else prover.signs[which]
            for with_penalty in kinds:
                need = prover.need(value, left, with_penalty)
                certificate, at = self._certificate(path, signs, with_penalty, need, not left)
                z = at if z is None or which != -1 else z
                if certificate is not None:
                    certificates.append([which, *certificate])
                    break
            if certificates and certificates[-1][0] == -1:
                break
        closed = {c[0] for c in certificates}
        open_ = [] if -1 in closed else [s for s in open_ if s not in closed]
        if not open_:
            out.append(["b", certificates])
            return
        if not left:
            raise Unwritten("a leaf does not reach the bound that was proven")
        sample = self._next(left, path, open_, z)
        out.append(["n", sample, certificates])
        for choice in prover.choices(path):
            self._visit(left - {sample}, value, [*path, (sample, choice)], open_, out)

    def _certificate(self, path: NodePath, signs: Signs | None, with_penalty: bool, need: Fraction, leaf: bool
                     ) -> tuple[list | None, np.ndarray | None]:  # type: ignore[type-arg] # fmt: skip
        """A certificate that the verifier accepts, or None; and a z that nearly minimises, if one was looked for."""
        if need <= 0 and not with_penalty and not self.prover.errors:
            return [[0.0] * len(path), [], None], None
        z = None
        for closer in AGAIN:
            wanted = FEASIBLE if self.prover.errors else float(need)
            found, z = self.duals.certificate(path, signs, with_penalty, wanted, leaf, closer)
            if found is None:
                break
            if self.prover.closes(path, signs, found, need):
                return found, z
        return None, z

    def _next(self, left: frozenset[int], path: NodePath, open_: list[int], z: np.ndarray | None) -> int:
        """The sample whose best child has the largest loss at z, of those that no statement is lost by; for errors the
        one that z misses most."""
        subset = max((s for s, _ in self.prover.proven if s <= left), key=len, default=frozenset())
        while subset == left:
            subset = max((s for s, _ in self.prover.proven if s < subset), key=len, default=frozenset())
        candidates = sorted(left - subset)
        if z is None or not path:
            return candidates[0]
        if self.prover.errors:
            return candidates[int(np.argmax(self.duals.misses(candidates, z, self.prover.signs[open_[0]])))]
        return candidates[int(np.argmax(self.duals.least_losses(candidates, z)))]

    def _empty(self, path: NodePath, o: int) -> list | None:  # type: ignore[type-arg]
        """[steps], or [steps, weights], that show that orbit o has no such patterns; None if it may have them.

        One of the newest sample's sides must lie in the cone that the others exclude.
        """
        if not path or path[-1][1] is None:  # the parent has been looked at
            return None
        place = self.prover.place[o]
        key = (o, tuple((i, choice[place] if choice is not None else ()) for i, choice in path))
        if key not in self.cuts:
            self.cuts[key] = self._cut(path, o)
        return self.cuts[key]

    def _cut(self, path: NodePath, o: int) -> list | None:  # type: ignore[type-arg]
        prover, hardtanh = self.prover, self.prover.bounds.problem.activation == "hardtanh"
        first, *more = range(len(prover.bounds.neurons))[prover.place[o]]
        names, rows = [], []
        for t, (i, choice) in enumerate(path):
            if choice is None:
                continue
            for k in (first, *more):
                for c in range(max(choice[k] - 1, 0), min(choice[k] + 1, prover.bounds.problem.pieces - 1)):
                    names.append([t, c] if k == first else [t, c, k])
                    rows.append(self.sides[k][i][c] * (1.0 if choice[k] > c else -1.0) / self.units[o])
        newest = [j for j, (t, *_) in enumerate(names) if t == len(path) - 1]
        if hardtanh:
            names.append([-1, 0])
            rows.append(np.append(np.zeros(rows[0].size - 1), 1.0))
        a = np.array(rows)
        size = np.maximum(np.linalg.norm(a, axis=1), 1e-300)
        a = a / size[:, None]
        for j in newest:
            others = np.delete(np.arange(len(a)), j)
            if not len(others) or not a[j].any():
                continue
            x, residual = nnls(a[others].T, -a[j], maxiter=1000)
            if residual > 1e-6:
                continue
            chosen = [j, *(int(other) for other, v in zip(others, x, strict=True) if v > 1e-12)]
            exact = []
            for n in chosen:
                t, c, *others_k = names[n]
                k = others_k[0] if others_k else first
                piece = path[t][1]
                if t == -1 or piece is None:
                    exact.append([Fraction(0)] * (len(rows[0]) - 1) + [Fraction(1)])
                else:
                    exact.append(prover.side(k, path[t][0], c, piece[k]))
            if residual <= 1e-9 and nonnegative_dependence(exact):
                return [[names[n] for n in chosen]]
            if prover.strict > 0 and not more:
                weights = [float(w) for w in np.append(1.0, x[x > 1e-12]) / size[chosen]]
                sides = [prover.plain_side(path[t][0], c, path[t][1][first]) for t, c in (names[n] for n in chosen)]  # type: ignore[index]
                if prover.thickness(sides, [Fraction(w) for w in weights]) < prover.strict:
                    return [[names[n] for n in chosen], weights]
        return None


Weights = tuple[np.ndarray, np.ndarray, float]  # hidden (H, d + 1), output (H,), output bias


def write_evidence(path: str | Path, cells: CellProblem, parts: list[PartProof], network: Weights, objective: float,
                   about: dict[str, Any] | None = None) -> float:  # fmt: skip
    """Write the file and return the bound it proves. Raises Unwritten. `about`: the spec's name and hashes."""
    _known(cells)
    problem = problem_of(cells)
    if cells.planar:
        return _errors(path, problem, network, objective, about)
    content: dict[str, Any] = {"version": VERSION, "problem": problem, "least": False, **(about or {})}
    training = read(problem)
    written = None
    for strict in (0.0, STRICT) if training.activation in THRESHOLD else (0.0,):
        try:
            written = _parts(training, cells, parts, strict)
            content["strict"] = strict
            break
        except Unwritten:
            if strict == STRICT or training.activation not in THRESHOLD:
                raise
    assert written is not None
    content["parts"], exact = written
    bound = _below(exact)
    _write(path, content, network, objective, bound)
    return bound


def write_least(path: str | Path, cells: CellProblem, parts: list[PartProof], network: Weights | None,
                objective: float | None, bound: float | None, about: dict[str, Any] | None = None) -> None:  # fmt: skip
    """Write the file of a problem of fewest weights under a limit of the loss; no network: none keeps it. The parts are
    those of supports that are above it. Raises Unwritten."""
    _known(cells)
    problem = problem_of(cells)
    content = {"version": VERSION, "problem": problem, "least": True, **(about or {}), "strict": 0.0}
    content["parts"], _ = _parts(read(problem), cells, parts, 0.0)
    _write(path, content, network, objective, bound)


def _known(cells: CellProblem) -> None:
    """Raises Unwritten for step and sign neurons that the verifier does not know."""
    if cells.activation.kind not in THRESHOLD:
        return
    whole = cells.untied or cells
    if np.any(whole.lo == whole.hi) or any(np.any(s.used & ~s.closed) for s in cells.supports):
        raise Unwritten("step and sign neurons with fixed weights, or without biases, have none yet")


def join(path: str | Path, cases: list[Path]) -> float | None:
    """One file of several, which are about the cases of an enforced symmetry; the bound that it proves (None: that
    there is no network)."""
    contents = [load(case) for case in cases]
    content: dict[str, Any] = {"version": VERSION, "cases": contents}
    content["sha256"] = digest(content)
    _pack(path, content)
    return min((float(one["bound"]) for one in contents if one["bound"] is not None), default=None)


def _errors(path: str | Path, problem: dict[str, Any], network: Weights, objective: float,
            about: dict[str, Any] | None) -> float:  # fmt: skip
    """A file without parts: the verifier enumerates."""
    training = read(problem)
    if not halfplanes.applies(training):
        raise Unwritten("errors are re-checked for one or two step or sign neurons on the plane")
    if training.samples > halfplanes.MOST:
        raise Unwritten(f"errors are re-checked by enumeration, for at most {halfplanes.MOST} samples")
    content = {"version": VERSION, "problem": problem, "least": False, **(about or {}), "strict": 0.0, "parts": []}
    _write(path, content, network, objective, objective)
    return objective


def _write(path: str | Path, content: dict[str, Any], network: Weights | None, objective: float | None,
           bound: float | None) -> None:  # fmt: skip
    content["network"] = None
    if network is not None:
        hidden, v, c = network
        content["network"] = {"hidden": hidden.tolist(), "v": v.tolist(), "c": float(c)}
    content["objective"], content["bound"] = objective, bound
    content["sha256"] = digest(content)
    _pack(path, content)


def _pack(path: str | Path, content: dict[str, Any]) -> None:
    Path(path).write_bytes(gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))


STRICT = 1e-7
"""Room that step and sign neurons have to have, where without it no proof is found: see `neurons.STRICT`."""


def _below(value: Fraction) -> float:
    near = float(value)
    return near if Fraction(near) <= value else float(np.nextafter(near, -np.inf))


def _signs(training: Training, used: list[int], signs: list[tuple[int, ...]]) -> list[list[int]]:
    """The signs of the orbits that are used, from those of all orbits or of these (or of one that stands for none)."""
    if training.activation in THRESHOLD:
        return [[1] * len(used)]
    found = [tuple(v[o] for o in used) if len(v) == len(training.orbits) else v[: len(used)] for v in signs]
    if any(len(v) != len(used) for v in found):
        raise Unwritten("a support has other neurons for the verifier")
    return [list(v) for v in dict.fromkeys(found)]


def _parts(training: Training, cells: CellProblem, parts: list[PartProof], strict: float
           ) -> tuple[list[dict[str, Any]], Fraction]:  # fmt: skip
    budget, written, bounds = [NODES], [], []
    slack = 0.0 if cells.kind == "errors" else SLACK  # errors are sums of weights, and nothing is rounded in them
    limit = (KEPT - training.offset) / training.scale if cells.least else None  # of the loss
    for part in parts:
        s = part.support
        entry: dict[str, Any] = {"support": None, "signs": part.signs, "statements": []}
        if s is not None:
            w, v, c = (cells.untied or cells).values(indicator(cells, s.hidden, s.used, s.constant))
            entry["support"] = {"hidden": (w != 0.0).tolist(), "outputs": (v != 0.0).tolist(), "constant": c != 0.0,
                                "price": float(s.price)}  # fmt: skip
        support = support_of(training, entry)
        entry["signs"] = _signs(training, left_by(training, support).used, part.signs)
        prover = prover_of(training, support, [tuple(v) for v in entry["signs"]], Fraction(strict))
        writer = TreeWriter(prover, Duals(cells, prover), budget)
        best = Fraction(0)
        always = writer.duals.always  # the engine's values are without it
        for m, value in [(m, value + always) for m, value in part.values or ([(0, 0.0)] if always > 0.0 else [])]:
            claim = Fraction(value - slack * abs(value) - 1e-12 * writer.duals.scale)
            if limit is not None and value > limit:  # it ends there, and the slack may be more than what is left
                claim = Fraction(float((limit + Fraction(value)) / 2))
            if claim <= best:
                continue
            samples = [int(i) for i in part.order[len(part.order) - m :]]
            tree = writer.tree(samples, claim)
            entry["statements"].append({"samples": samples, "value": float(claim), "tree": tree})
            prover.proven.append((frozenset(samples), claim))
            best = claim
            if limit is not None and best > limit:
                break
        if limit is not None and best <= limit:
            raise Unwritten("a set of nonzero weights is too close to the limit of the loss")
        bounds.append(training.offset + support.price + training.scale * best)
        written.append(entry)
    return written, min(bounds, default=Fraction(0))
