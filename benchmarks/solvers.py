"""`solvers`: closed forms and exact solvers against the papers' problems as printed, in cvxpy."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from mtlgrad import reference
from mtlgrad.compare.command.arguments import at_least, output_file
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.environment import provenance, versions
from mtlgrad.compare.schema import write_atomically
from mtlgrad.compare.table import piped
from mtlgrad.solvers import (
    bargaining_residual,
    bargaining_weights,
    cagrad_residual,
    cagrad_weights,
    cone_residual,
    harmonized_parts,
    min_norm_residual,
    min_norm_weights,
    project_onto_dual_cone,
    unit_diagonal,
)

HELP = "closed forms and exact solvers against the papers' problems as printed, in cvxpy"

Array = NDArray[np.float64]

DIRECTION_TOLERANCE = 1e-6
CERTIFICATE_TOLERANCE = 1e-9
WELL_CONDITIONED = 1e-6
"""Smallest non-zero eigenvalue of the matrix of cosines, and shortest direction relative to the lengths combined in it:
below, the oracle itself does not determine a direction to 1e-6."""


@dataclass(frozen=True)
class Solved:
    """One problem with its exact solution: weights on the rows of J, and the residual of its certificate."""

    weights: Array
    certificate: float
    unique: bool = True
    """Whether the printed problem has one solution here."""


def _gh(gram: Array) -> Solved:
    each = np.eye(len(gram))
    parts = harmonized_parts(gram)
    return Solved(parts.sum(0), cone_residual(gram, each, parts))


def _upgrad(gram: Array) -> Solved:
    solved = _gh(gram)
    return Solved(solved.weights / len(gram), solved.certificate)


def _dualproj(gram: Array) -> Solved:
    mean = np.full((1, len(gram)), 1 / len(gram))
    projected = project_onto_dual_cone(gram, mean)
    return Solved(projected[0], cone_residual(gram, mean, projected))


def _mgda(gram: Array) -> Solved:
    weights = min_norm_weights(gram)
    return Solved(weights, min_norm_residual(gram, weights))


def _cagrad(gram: Array) -> Solved:
    worst_case, weights = cagrad_weights(gram, 0.5)
    # At a Pareto-stationary point the worst-served task gains 0 whatever one does, within limits.
    norms = np.sqrt(gram.diagonal())
    unique = bool(worst_case @ gram @ worst_case > (WELL_CONDITIONED * (worst_case @ norms)) ** 2)
    return Solved(weights, cagrad_residual(gram, 0.5, worst_case, weights), unique)


def _nash(gram: Array) -> Solved:
    weights, solved = bargaining_weights(gram, 1.0)
    # Without a solution (a Pareto-stationary point) there is no equation to be off from.
    return Solved(weights, bargaining_residual(gram, weights, 1.0) if solved else 0.0, solved)


def _harmonized_sum(jacobian: Array) -> Array:
    return np.asarray(sum(reference.harmonized_gradient(jacobian, i) for i in range(len(jacobian))))


def _bargaining_error(jacobian: Array, direction: Array) -> float:
    """How far the oracle is from the equation d = sum_i g_i / (g_i . d) that its optimum solves."""
    gains = jacobian @ direction
    live = gains > 0
    implied = (1 / gains[live]) @ jacobian[live]
    return float(np.linalg.norm(implied - direction) / np.linalg.norm(direction))


@dataclass(frozen=True)
class Problem:
    """A printed problem: how it is solved exactly, and by cvxpy."""

    solve: Callable[[Array], Solved]
    """From G [m, m]."""
    oracle: Callable[[Array], Array]
    """From J [m, n]: the direction [n]."""
    oracle_error: Callable[[Array, Array], float] = lambda jacobian, direction: 0.0
    """From J and the oracle's direction: how far that is from its own optimality conditions, where that can be told."""


PROBLEMS = {
    "GH (7) (26)": Problem(_gh, _harmonized_sum),
    "UPGrad": Problem(_upgrad, reference.upgrad),
    "DualProj": Problem(_dualproj, reference.dualproj),
    "MGDA": Problem(_mgda, reference.min_norm_point),
    "CAGrad c=.5": Problem(_cagrad, lambda J: reference.cagrad_direction(J, 0.5)),
    # Logarithms cost Clarabel half of its digits now and then: such a case says nothing about the exact solver.
    "Nash-MTL": Problem(_nash, reference.bargaining_direction, _bargaining_error),
}


@dataclass(frozen=True)
class Comparison:
    """One method on one family of Jacobians, over all m."""

    method: str
    family: str
    cases: int
    well_conditioned: int
    difference: float | None
    """Largest |d - d_oracle| / |d_oracle| over the well-conditioned cases; None where there is none."""
    certificate: float
    """Largest residual over all cases."""
    exact_us: float
    """Median time of the exact solution, microseconds."""
    cvxpy_us: float
    """Median time of the oracle, microseconds."""

    @property
    def passed(self) -> bool:
        close = self.difference is None or self.difference <= DIRECTION_TOLERANCE
        return close and self.certificate <= CERTIFICATE_TOLERANCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--largest", type=at_least(2), default=16, metavar="M", help="m goes from 2 to this (default 16)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--json", type=output_file, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--out", type=output_file, metavar="FILE.md", help="also write the table, in Markdown")


def run(args: argparse.Namespace) -> int:
    """0 when every row is within the tolerances, else 1."""
    versions()  # of the code that is loaded, not of what the tree holds by the end
    console = make_console()
    rows = [
        row
        for name in track(PROBLEMS, description="solving", console=console, transient=True)
        for row in compare(name, range(2, args.largest + 1), args.seed)
    ]
    console.print(_table(rows))
    if args.json:
        write_atomically(json.dumps([asdict(row) for row in rows], indent=1) + "\n", args.json)
    if args.out:
        write_atomically(markdown(rows, largest=args.largest, seed=args.seed), args.out)
    return 0 if all(row.passed for row in rows) else 1


def compare(name: str, sizes: range, seed: int) -> list[Comparison]:
    """The method `name` of `PROBLEMS` against its oracle, one row a family, m over `sizes` and n = m + 4."""
    problem = PROBLEMS[name]
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, bool, float, float, float]]] = {}
    for m in sizes:
        for family, jacobian in reference.families(m, m + 4, rng).items():
            gram = jacobian @ jacobian.T
            exact_us = _median_us(lambda gram=gram: problem.solve(gram), 5)  # type: ignore[misc]
            solved = problem.solve(gram)
            direction = solved.weights @ jacobian
            start = time.perf_counter()
            try:
                wanted = problem.oracle(jacobian)
            except ArithmeticError:  # the oracle gives up on some nearly degenerate cones; the certificate still counts
                wanted = np.zeros(jacobian.shape[1])
            cvxpy_us = 1e6 * (time.perf_counter() - start)
            length = float(np.linalg.norm(wanted))
            norms = np.linalg.norm(jacobian, axis=1)
            combined = max(float(np.abs(solved.weights) @ norms), float(norms[norms > 0].min()))
            well = solved.unique and _determined(gram) and length > WELL_CONDITIONED * combined
            well = well and problem.oracle_error(jacobian, wanted) < 0.1 * DIRECTION_TOLERANCE
            difference = float(np.linalg.norm(direction - wanted)) / length if length else 0.0
            found.setdefault(family, []).append((difference, well, solved.certificate, exact_us, cvxpy_us))
    rows = []
    for family, cases in found.items():
        close = [difference for difference, well, *_ in cases if well]
        rows.append(
            Comparison(
                method=name,
                family=family,
                cases=len(cases),
                well_conditioned=len(close),
                difference=max(close, default=None),
                certificate=max(case[2] for case in cases),
                exact_us=float(np.median([case[3] for case in cases])),
                cvxpy_us=float(np.median([case[4] for case in cases])),
            )
        )
    return rows


def _determined(gram: Array) -> bool:
    values = np.linalg.eigvalsh(unit_diagonal(gram)[0])
    return not bool(((values > 1e-12 * values[-1]) & (values < WELL_CONDITIONED * values[-1])).any())


def _median_us(call: Callable[[], object], repeats: int) -> float:
    call()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return 1e6 * float(np.median(spent))


TITLE = "Exact solvers against cvxpy"
CAPTION = (
    "max difference: of the direction, relative, over the well-conditioned cases. "
    "certificate: largest residual of the optimality conditions over all cases."
)
HEADINGS = ("method", "family", "well-cond.", "max difference", "certificate", "exact us", "cvxpy us", "ratio")


def markdown(rows: list[Comparison], *, largest: int, seed: int) -> str:
    """The table as a Markdown document that can be committed."""
    made = f"`python -m benchmarks solvers`, m from 2 to {largest}, seed {seed}, {provenance('cvxpy', 'clarabel')}."
    return "\n\n".join([f"# {TITLE}", made, CAPTION, piped(HEADINGS, [_cells(row) for row in rows])]) + "\n"


def _cells(row: Comparison) -> list[str]:
    return [
        row.method,
        row.family,
        f"{row.well_conditioned}/{row.cases}",
        "-" if row.difference is None else f"{row.difference:.1e}",
        f"{row.certificate:.1e}",
        f"{row.exact_us:.0f}",
        f"{row.cvxpy_us:.0f}",
        f"{row.cvxpy_us / row.exact_us:.0f}x",
    ]


def _table(rows: list[Comparison]) -> Table:
    table = Table(title=TITLE, caption=CAPTION)
    for k, column in enumerate(HEADINGS):
        table.add_column(column, justify="left" if k < 2 else "right")
    for row in rows:
        table.add_row(*_cells(row), style=None if row.passed else "bold red")
    return table
