"""Runs the kernel: pools of boxes on threads, incumbent, progress, limits, checkpoints.

All is done in rounds of a fixed number of boxes a thread, after which incumbents are exchanged and pools evened out;
so the result depends on the seed and the number of threads, not on timing (unless a time limit or a stop cuts it
short).
"""

from __future__ import annotations

import math
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnspec.engines.ahead import processors
from nnspec.engines.boxes import certificate, local, search
from nnspec.engines.boxes import model as form
from nnspec.engines.boxes.domain import Domain, domain, roots
from nnspec.engines.compiled import Mode
from nnspec.engines.interface import Limits, OnProgress, Outcome, Progress, Status
from nnspec.errors import UsageError, diagnostic
from nnspec.problem import evaluate
from nnspec.problem.problem import Point, Problem
from nnspec.tolerances import proven

INTERPRETED = Mode.interpreted  # whether the kernels are Python functions in this import, see uncompiled.py
STARTS = 24  # random starts of the local search before the first box
MEMORY = 2000.0  # megabytes for open boxes if no limit is given; beyond that the search goes depth first
SAVE_EVERY = 60.0  # seconds between checkpoints


class Pool:
    """The open boxes of one thread: rows, a heap of slots, and the unused slots."""

    def __init__(self, width: int, most: int, capacity: int = 1024):
        self.rows = np.zeros((capacity, width))
        self.heap = np.zeros(capacity, dtype=np.int64)
        self.free = np.arange(capacity, dtype=np.int64)[::-1].copy()
        self.size, self.unused, self.most = 0, capacity, most
        self.log = (np.zeros((0, 0)), np.zeros((0, 0), np.float32), np.zeros(1, np.int64))

    def add(self, row: np.ndarray) -> None:
        self.reserve(1)
        self.unused -= 1
        slot = self.free[self.unused]
        self.rows[slot] = row
        self.size = search.push(self.heap, self.rows, self.size, slot)

    def reserve(self, count: int) -> bool:
        """Make room for `count` more boxes if the memory limit allows it; whether there is room."""
        while self.unused < count and len(self.rows) < self.most:
            old, new = len(self.rows), min(self.most, 2 * len(self.rows))
            rows, heap, free = np.zeros((new, self.rows.shape[1])), np.zeros(new, np.int64), np.zeros(new, np.int64)
            rows[:old], heap[:old], free[: self.unused] = self.rows, self.heap, self.free[: self.unused]
            free[self.unused : self.unused + new - old] = np.arange(new - 1, old - 1, -1)
            self.rows, self.heap, self.free = rows, heap, free
            self.unused += new - old
        return self.unused >= count

    def record(self, capacity: int, box: int, dual: int) -> None:
        """Keep finished boxes (2*H*D numbers) with their u and multipliers."""
        self.log = (np.zeros((capacity, box)), np.zeros((capacity, dual), np.float32), np.zeros(1, np.int64))

    def drain(self) -> tuple[np.ndarray, np.ndarray]:
        """The boxes, u and multipliers recorded since the last call."""
        count = self.log[2][0]
        self.log[2][0] = 0
        return self.log[0][:count].copy(), self.log[1][:count].copy()

    def pop(self) -> np.ndarray:
        slot, self.size = search.pop(self.heap, self.rows, self.size)
        self.free[self.unused] = slot
        self.unused += 1
        return self.rows[slot].copy()

    @property
    def bound(self) -> float:
        return float(self.rows[self.heap[0], 0]) if self.size else math.inf

    def open(self) -> np.ndarray:
        return self.rows[self.heap[: self.size]]


class Driver:
    """One solve."""

    def __init__(self, problem: Problem, model: form.Model, limits: Limits, on_progress: OnProgress | None,
                 stop: threading.Event | None, checkpoint: Path | None, certificate: Path | None) -> None:  # fmt: skip
        self.began = time.monotonic()
        self.problem, self.model, self.limits = problem, model, limits
        self.on_progress, self.stop = on_progress, stop
        self.checkpoint, self.certificate = checkpoint, certificate
        self.best = math.inf  # the engine's value: without sense and constant
        self.w = np.zeros(model.lo.shape)
        self.z = np.zeros(model.vlo.shape)
        cutoff = limits.cutoff
        self.ceiling = math.inf if cutoff is None else model.sense * cutoff - model.constant
        self.finished = math.inf  # least bound of the boxes that are done
        self.reach = math.inf  # what all networks outside of the ranges searched have at least
        self.certified = -math.inf  # bound of the certificate: open boxes get new u for it, which may prove more
        self.nodes = 0
        self.threads = limits.threads or processors()
        self.pools: list[Pool] = []
        self.reported = 0.0
        self.messages: list[str] = []
        self.boxes: list[tuple[np.ndarray, np.ndarray]] = []  # recorded for the certificate
        self.saved = 0.0

    # values outside are in the problem's sense and units
    def outside(self, value: float) -> float | None:
        return float(self.model.sense * (value + self.model.constant)) if math.isfinite(value) else None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def bound(self) -> float:
        if not self.pools:
            return -math.inf
        return min(self.best, self.reach, self.finished, *(p.bound for p in self.pools))

    def out_of_time(self) -> bool:
        return self.limits.time is not None and self.seconds >= self.limits.time

    def stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def report(self, new: bool) -> None:
        """Tell `on_progress`, at most five times a second unless the incumbent is new."""
        if self.on_progress is None or not (new or self.seconds - self.reported > 0.2):
            return
        self.reported = self.seconds
        point = self.model.point(self.w, self.z) if new else None
        self.on_progress(Progress(self.seconds, self.outside(self.best), self.outside(self.bound), self.nodes, point))

    def solve(self, start: tuple[Point, ...]) -> Outcome:
        try:
            status = self._search(start)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        return self._outcome(status)

    def _first_incumbent(self, start: tuple[Point, ...]) -> None:
        """The best of the given points and of descents, from them and from random weights."""
        model = self.model
        lo, hi = np.maximum(model.lo, -20.0), np.minimum(model.hi, 20.0)
        lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
        rng = np.random.default_rng(self.limits.seed)
        whole = replace(model, lo=lo, hi=hi, vlo=np.maximum(model.vlo, -1e6), vhi=np.minimum(model.vhi, 1e6))
        boxes, restrictions = list(zip(*roots(whole), model.prices)), domain(whole)
        starts = []
        for p in start:
            w, z = model.weights(p)
            value = model.sense * evaluate.objective(self.problem, p) - model.constant
            if value < self.best and not evaluate.violations(self.problem, p):
                self.best, self.w, self.z = value, w, z
            near = np.argsort([np.abs(w - np.clip(w, *box[:2])).sum() for box in boxes], kind="stable")
            starts += [(w, boxes[r]) for r in near[:3]]
        spread = 1.0 / np.sqrt(np.maximum(np.mean(model.copies**2, axis=1), 1e-6))
        for number in range(STARTS):
            w, _ = model.canonical(rng.normal(size=lo.shape) * spread * 1.5, self.z)
            starts.append((w, boxes[number % len(boxes)]))
        for s, (a, b, va, vb, price) in starts:
            w, z = np.zeros(lo.shape), np.zeros(self.z.shape)
            value = local.best_of(model.arrays(), s[None], va, vb, a, b, 60, w, z)
            if not restrictions.plain:
                value = local.in_domain(model.arrays(), restrictions, w, z, a, b, va, vb)
            if value + price < self.best:
                self.best, self.w, self.z = value + price, w, z
            if self.stopped() or (self.out_of_time() and math.isfinite(self.best)):
                break
        if len(model.rows) and not math.isfinite(self.best):
            self._any_feasible(whole, boxes, restrictions)
        if math.isfinite(self.best):
            self.report(True)

    def _any_feasible(self, model: form.Model, boxes: list[tuple], restrictions: Domain) -> None:
        """The constraints and ranges alone are a linear program: a network from its solution, for each root."""
        from scipy.optimize import linprog

        upper, lower = np.isfinite(model.high), np.isfinite(model.low)
        rows = np.vstack([model.rows[upper], -model.rows[lower]])
        limits = np.concatenate([model.high[upper], -model.low[lower]])
        for lo, hi, vlo, vhi, price in boxes:
            ends = [np.concatenate([a.ravel(), b.ravel()]) for a, b in ((lo, vlo), (hi, vhi))]
            result = linprog(np.zeros(len(ends[0])), A_ub=rows, b_ub=limits, bounds=list(zip(*ends)))
            if result.status == 0:
                w, z = result.x[: lo.size].reshape(lo.shape), result.x[lo.size :].reshape(vlo.shape)
                value = local.in_domain(model.arrays(), restrictions, w, z, lo, hi, vlo, vhi)
                if value + price < self.best:
                    self.best, self.w, self.z = value + price, w, z

    def _search(self, start: tuple[Point, ...]) -> Status:
        resumed = self._resume()
        if resumed is None:
            self._first_incumbent(start)
        upper = min(self.best, self.ceiling)
        ranges = [self.model.lo, self.model.hi]
        if np.any(self.model.coupled):
            ranges += [self.model.vlo, self.model.vhi]
        if not (math.isfinite(upper) or all(np.all(np.isfinite(r)) for r in ranges)):
            self.messages.append("no feasible network was found, and without one penalties imply no ranges of weights")
            return Status.LIMIT
        model = self.model = form.closed(self.model, max(0.0, upper))  # loss and penalties are not negative
        self.reach = upper
        hh, d = model.lo.shape
        n, m = len(model.x), model.vlo.shape[1]
        width = search.row_size(hh, d, m)
        self.domain = domain(model, self.ceiling)
        memory = (self.limits.memory or MEMORY) * 1e6 / self.threads
        self.pools = [Pool(width, max(4096, int(memory / (8 * (width + 2))))) for _ in range(self.threads)]
        if resumed is None:
            resumed = np.array([
                np.concatenate([[price, -1.0, root], *(part.ravel() for part in (lo, hi, self.w, self.z, vlo, vhi))])
                for root, (price, lo, hi, vlo, vhi) in enumerate(zip(model.prices, *roots(model)))
            ])  # fmt: skip
        for i, row in enumerate(resumed):
            self.pools[i % self.threads].add(row)
        # about a tenth of a second a round, by the cost of a box
        cost = n * m * hh * hh * d * (d + 3)
        count = 5 if INTERPRETED else int(np.clip(2e7 / cost, 20, 2000))
        dual = n * m + int(np.count_nonzero(model.coupled))
        self.log_width = 4 * (model.lo.size + model.vlo.size) + dual
        if self.certificate is not None:
            for pool in self.pools:
                pool.record(max(256, 32 * hh * d), 1 + 2 * (model.lo.size + model.vlo.size), dual)

        with ThreadPoolExecutor(self.threads) as executor:
            while any(p.size for p in self.pools):
                if self.stopped():
                    return self._leave(Status.INTERRUPTED)
                if self.out_of_time() or (self.limits.nodes is not None and self.nodes >= self.limits.nodes):
                    return self._leave(Status.LIMIT)
                close = proven(self.outside(self.best), self.outside(self.bound), self._gap)
                close |= self.bound >= self.ceiling
                if close and self.certificate is None:
                    break
                self._round(executor, count)
                if self.checkpoint is not None and self.seconds - self.saved > SAVE_EVERY:
                    self._save()
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)
        if not math.isfinite(self.best):
            return Status.INFEASIBLE if self.bound >= self.ceiling else Status.LIMIT
        return Status.OPTIMAL

    @property
    def _gap(self) -> float:
        return 0.999 * self.limits.gap

    def _leave(self, status: Status) -> Status:
        if self.checkpoint is not None:
            self._save()
        return status

    def _round(self, executor: ThreadPoolExecutor, count: int) -> None:
        """Let each thread that has boxes work on `count` of them, then exchange incumbents and boxes."""
        model = self.model
        arrays = model.arrays()
        if self.limits.nodes is not None:
            count = min(count, max(1, self.limits.nodes - self.nodes))

        def work(pool: Pool) -> tuple[float, float, int, np.ndarray, np.ndarray]:
            room = pool.reserve(2 * count + 2)
            w, z = np.zeros(self.w.shape), np.zeros(self.z.shape)
            pool.size, pool.unused, best, finished, done = search.run(
                arrays, self.domain, pool.rows, pool.heap, pool.size, pool.free, pool.unused, self.best, w, z,
                self._gap, count, not room, pool.log,
            )  # fmt: skip
            return best, finished, done, w, z

        busy = [p for p in self.pools if p.size]
        results = [work(busy[0])] if len(busy) == 1 else list(executor.map(work, busy))
        improved = False
        for best, finished, done, w, z in results:
            self.finished = min(self.finished, finished)
            self.nodes += done
            if best < self.best:
                self.best, improved = best, True
                self.w, self.z = w, z
        if self.certificate is not None:
            self.boxes.extend(p.drain() for p in busy)
        if improved:
            self._polish()
        self._share()
        self.report(improved)

    def _save(self) -> None:
        """Write the open boxes and the incumbent; the file appears whole or not at all."""
        assert self.checkpoint is not None
        self.saved = self.seconds
        part = self.checkpoint.with_suffix(".part")
        with part.open("wb") as f:
            np.savez(f, digest=self.model_digest, rows=np.vstack([p.open() for p in self.pools]), w=self.w, z=self.z,
                     numbers=np.array([self.best, self.finished, self.nodes]))  # fmt: skip
        part.replace(self.checkpoint)

    def _resume(self) -> np.ndarray | None:
        """The open boxes of the checkpoint, if there is one."""
        self.model_digest = certificate.digest(self.model, self._gap)
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        try:
            with np.load(self.checkpoint) as f:
                if str(f["digest"]) != self.model_digest:
                    raise UsageError(diagnostic(
                        "NNS171", f"{self.checkpoint} is a checkpoint of another problem or gap",
                        help="remove it or give another name",
                    ))  # fmt: skip
                self.w, self.z = f["w"], f["z"]
                self.best, self.finished = (float(t) for t in f["numbers"][:2])
                self.nodes = int(f["numbers"][2])
                return f["rows"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
            message = f"{self.checkpoint} cannot be read as a checkpoint of the boxes engine"
            raise UsageError(diagnostic("NNS171", message, help="remove it or give another name")) from e

    def _polish(self) -> None:
        """Descend from a new incumbent in the whole domain, if every point of it is one of the problem."""
        if not self.domain.plain or len(self.domain.prices) > 1:
            return
        w, z = self.w.copy(), self.z.copy()
        model = self.model
        value = local.best_of(model.arrays(), w[None], model.vlo, model.vhi, model.lo, model.hi, 60, w.copy(), z)
        if value < self.best:
            local.best_of(model.arrays(), w[None], model.vlo, model.vhi, model.lo, model.hi, 60, self.w, self.z)
            self.best = value

    def _share(self) -> None:
        """Deal boxes of the fullest pool to one that runs dry."""
        for poor in self.pools:
            rich = max(self.pools, key=lambda p: p.size)
            if poor.size < 32 and rich.size > 4 * poor.size + 8:
                for _ in range(min(rich.size // 2, 2000)):
                    best = rich.pop()
                    poor.add(rich.pop())
                    rich.add(best)

    def _certify(self) -> bool:
        """Write the certificate, that of the open boxes included; whether there is one."""
        assert self.certificate is not None
        size = 4 * self.log_width * (sum(p.size for p in self.pools) + sum(len(b) for b, _ in self.boxes))
        if not (math.isfinite(self.best) and self.pools):
            self.messages.append("no certificate was written: there is no network")
        elif size > (self.limits.memory or MEMORY) * 1e6:
            self.messages.append("no certificate was written: its boxes do not fit into the memory limit")
        else:
            bound = self.certified = min(self.best, self.reach, self.finished, *(self._seal(p) for p in self.pools))
            if any(p.size for p in self.pools):
                self.messages.append(f"the certificate proves the bound {self.outside(bound):.9g}")
            certificate.write(self.certificate, self.problem, self.model, self.w, self.z, bound, self.boxes)
            return True
        return False

    def _seal(self, pool: Pool) -> float:
        """Record the open boxes of a pool; the least bound that they have with the u recorded."""
        done, least = 0, math.inf
        while done < pool.size:
            done, bound = search.seal(
                self.model.arrays(), self.domain, pool.rows, pool.heap, pool.size, done, self.best, pool.log
            )
            self.boxes.append(pool.drain())
            least = min(least, bound)
        return least

    def _outcome(self, status: Status) -> Outcome:
        objective = bound = None
        point = None
        if math.isfinite(self.best):
            point = self.model.point(self.w, self.z)
            objective = evaluate.objective(self.problem, point)
        written = self._certify() if self.certificate is not None else False
        bound = self.outside(max(self.bound, self.certified)) if self.pools else None
        if status is Status.OPTIMAL and not proven(objective, bound, self.limits.gap):
            if self.bound >= self.ceiling:
                status = Status.INFEASIBLE  # nothing is better than the cutoff
            else:
                status = Status.LIMIT
                self.messages.append("rounding errors leave a gap above the one asked for")
        evidence = {
            "method": "spatial branch-and-bound on hidden weights, neuron-separable dual bound",
            "threads": self.threads, "seed": self.limits.seed, "gap": self.limits.gap,
            "open": sum(p.size for p in self.pools),
            "certificate": str(self.certificate) if written else None,
            "rounding": "bounds are lowered by 1e-12 times the sum of the magnitudes of their terms",
        }  # fmt: skip
        return Outcome(status, point, objective, bound, self.seconds, self.nodes, "boxes", "", evidence,
                       tuple(self.messages))  # fmt: skip
