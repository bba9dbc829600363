"""Draw the figures of a folder of stored runs: `python -m tasks.uda.analyses RESULTS`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mtlgrad.compare.schema import Run, read_run
from tasks.uda.analyses import ANALYSES


def main(argv: Sequence[str] | None = None) -> int:
    """Write PNG, SVG and JSON of every figure of every arm. The exit code: 0, or 2 for a request that cannot be met."""
    parser = argparse.ArgumentParser(prog="python -m tasks.uda.analyses", description=__doc__)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of a comparison, with `runs` in it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RESULTS/figures")
    parser.add_argument("--only", choices=ANALYSES, action="append", metavar="NAME", help=f"of {', '.join(ANALYSES)}")
    args = parser.parse_args(argv)
    files = sorted((args.results / "runs").glob("*.json"))
    if not files:
        print(f"error: {args.results} holds no runs; expected files like runs/*.json in it", file=sys.stderr)
        return 2
    runs = [read_run(path) for path in files]
    written = draw_all(runs, args.out or args.results / "figures", only=args.only)
    print("\n".join(str(path) for path in written))
    return 0


def draw_all(runs: Sequence[Run], folder: Path, *, only: Sequence[str] | None = None) -> list[Path]:
    """Write `<arm>-<name>.png`, `.svg` and `.json` for all that these runs have something of; returns the PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for arm in dict.fromkeys(run.arm for run in runs):
        own = [run for run in runs if run.arm == arm]
        for name in only or ANALYSES:
            analysis = ANALYSES[name]
            data = analysis.data(own)
            if data is None:
                continue
            stem = folder / f"{arm}-{name}" if arm else folder / name
            head = {"title": analysis.title, "paper": analysis.shows, "arm": arm}
            stem.with_name(f"{stem.name}.json").write_text(json.dumps(head | data, indent=1) + "\n", encoding="utf-8")
            figure = analysis.draw(data)
            figure.suptitle(f"{analysis.title} · {arm}" if arm else analysis.title, fontsize=10)
            for kind in ("svg", "png"):
                path = stem.with_name(f"{stem.name}.{kind}")
                figure.savefig(path, dpi=120)
                figure.set_layout_engine("none")  # laid out once, which is most of the work
            written.append(path)
    return written


if __name__ == "__main__":
    raise SystemExit(main())
