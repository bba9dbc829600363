"""The comparison from Python."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from mtlgrad import Method, catalog
from mtlgrad.compare.comparison import carry_out, sources
from mtlgrad.compare.options import plain_options
from mtlgrad.compare.places import check_remade, hyperparameters, place_of
from mtlgrad.compare.registry import Found, check_problem
from mtlgrad.compare.results import Results, load_results
from mtlgrad.compare.sources import IN_MEMORY
from mtlgrad.compare.suite import Suite, SuiteError, explain


def compare(
    problem: Found | str,
    *,
    methods: Sequence[str | Method] | Mapping[str, str | Method],
    metrics: Mapping[str, Any] | None = None,
    seeds: int | Iterable[int] = 5,
    out: str | Path = "results",
    name: str | None = None,
    title: str = "",
    baseline: str | None = None,
    options: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **keys: Any,
) -> Results:
    """Compare methods on a problem; runs that are in the folder already are not made again.

    Parameters
    ----------
    problem:
        A function `train(method, run) -> {metric: value}` (see `FunctionRun`), a class that derives from `Problem`, or
        where one is: `package.module:Name` or `file.py:train`.
    methods:
        Names of the catalog, methods, or import paths; a mapping gives them labels of their own.
    metrics:
        What is judged, the main one first: a name to "max" or "min", or to a table with `direction`, `unit` and
        `margin`. None: the first that the function returns, or the problem's own, of which more is better.
    seeds:
        How many, from 0; or which: `seeds=[0]` is seed 0 alone.
    out:
        The folder of results; a folder in it, named after the comparison, is made or gone on with.
    name, title:
        Of the comparison; None: after the problem.
    baseline:
        The label that the others are compared with; None: the first.
    options:
        Of the problem: `run.options`. Results are kept with them: numbers (finite ones), text, None, bools, and lists
        and mappings of these; for a path pass `str(path)`. NumPy's numbers become Python's, tuples lists.
    jobs, scheduler:
        Runs side by side on this machine, at least 1 (None: one per core); or the address of a Dask scheduler.
    overwrite:
        Replace finished results of other settings.
    quiet:
        Print nothing; results of another version of the code are a warning then.
    keys:
        Further keys of a suite, such as `description`, `tuning` or `controls`.

    Returns
    -------
    Results
        The runs and the rows made of them; `out/name/report.html` shows them.

    Raises
    ------
    ValueError, TypeError
        A request that cannot be met.
    KeyboardInterrupt
        On Ctrl-C; the same call goes on from there.

    Examples
    --------
    >>> import tempfile, torch
    >>> def train(method, run):
    ...     w = torch.nn.Parameter(torch.zeros(2))
    ...     balancer, optimizer = run.balancer(method, shared=[w]), torch.optim.SGD([w], lr=0.1)
    ...     for step in range(20):
    ...         optimizer.zero_grad()
    ...         balancer.backward({"a": (w - 1).square().sum(), "b": (w + torch.ones(2)).square().sum()})
    ...         optimizer.step()
    ...     return {"loss": (w - 1).square().sum()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = compare(
    ...         train, methods=["sum", "mgda"], metrics={"loss": "min"}, seeds=2, out=folder, jobs=1, quiet=True
    ...     )
    >>> [(run.label, run.seed, run.status) for run in results.runs]
    [('mgda', 0, 'ok'), ('mgda', 1, 'ok'), ('sum', 0, 'ok'), ('sum', 1, 'ok')]
    """
    if not isinstance(problem, str):
        check_problem(problem)
    settings = plain_options({} if options is None else options, "options")
    rows, classes, places = _rows(methods)
    path = problem if isinstance(problem, str) else place_of(problem, "problem", places)
    suite = _suite(
        {
            "name": name or _slug(path),
            "title": title,
            "problem": path,
            "problem_options": {key: value for key, value in settings.items() if key != "steps"},
            "steps": settings.get("steps"),
            "seeds": _seeds(seeds),
            "metrics": dict(metrics or {}),
            "baseline": baseline or rows[0]["label"],
            "methods": rows,
            **keys,
        }
    )
    folder = Path(out) / suite.name
    given: dict[str, Any] = {} if isinstance(problem, str) else {"problem": problem}
    known = {**sources(suite, {}, given=places), **places}
    code = carry_out(
        suite,
        suite,
        folder,
        Console(quiet=quiet),
        known=known,
        parallel=jobs,
        scheduler=scheduler,
        overwrite=overwrite,
        methods=classes,
        **given,
    )
    if code == 130:
        raise KeyboardInterrupt
    return load_results(folder, suite)


def _slug(path: str) -> str:
    """The name of a comparison, after its problem."""
    name = path.rpartition(":")[2].partition(IN_MEMORY)[0]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "comparison"


def _suite(keys: dict[str, Any]) -> Suite:
    try:
        return Suite.model_validate(keys)
    except ValidationError as error:
        raise SuiteError(explain(error)) from error


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    """The seeds that a count, or a collection, stands for."""
    allowed = f"seeds must be how many, an int >= 1, or which, ints >= 0 such as [0, 4], got {seeds!r}"
    if isinstance(seeds, bool | str):
        raise TypeError(allowed)
    try:
        found = list(range(operator.index(seeds)))  # type: ignore[arg-type]  # NumPy's integers are counts too
    except TypeError:
        try:
            found = [operator.index(one) for one in seeds]  # type: ignore[union-attr]
        except TypeError as error:
            raise TypeError(allowed) from error
    if not found or min(found) < 0:
        raise ValueError(allowed)
    return found


def _rows(
    methods: Sequence[str | Method] | Mapping[str, str | Method],
) -> tuple[list[dict[str, Any]], dict[str, type[Method]], dict[str, str]]:
    """The rows of a suite; the classes of methods that the catalog does not have, and where they are, by name."""
    if isinstance(methods, str | Method) or not methods:
        raise TypeError(f"methods must be a list or a mapping of methods, at least one, got {methods!r}")
    named: Iterable[tuple[str | None, str | Method]]
    named = methods.items() if isinstance(methods, Mapping) else [(None, method) for method in methods]
    rows: list[dict[str, Any]] = []
    classes: dict[str, type[Method]] = {}
    places: dict[str, str] = {}
    for label, method in named:
        if isinstance(method, str):
            rows.append({"label": _label(method) if label is None else label, "method": method})
            continue
        found = catalog.as_method(method)  # its error says what to do with a class or another library's method
        name = _listed(found)
        if name is None:
            check_remade(found)
            name = place_of(type(found), "method", places)
            classes[name] = type(found)
        rows.append({"label": _label(found) if label is None else label, "method": name, "args": _arguments(found)})
    return rows, classes, places


def _listed(method: Method) -> str | None:
    """Its name in the catalog; None where it is not listed."""
    return next((name for name, entry in catalog.CATALOG.items() if entry.make is type(method)), None)


def _label(method: str | Method) -> str:
    name = method.rpartition(":")[2] if isinstance(method, str) else method.name
    return name if len(name) <= 40 else name[:37] + "..."


def _arguments(method: Method) -> dict[str, Any]:
    """Its hyperparameters as a suite has them: a method inside is a table."""
    return {
        name: {"method": _inside(method, value), **_arguments(value)} if isinstance(value, Method) else value
        for name, value in hyperparameters(method).items()
    }


def _inside(method: Method, inner: Method) -> str:
    name = _listed(inner)
    if name is None:
        raise TypeError(
            f"method {method!r} holds {inner!r}, which is not of the catalog: a method of your own is compared by "
            "itself, or holds another of the catalog"
        )
    return name
