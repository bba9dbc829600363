"""Runs every ```python block of the README and of docs/*.md, each file's blocks in one namespace, top to bottom."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def main() -> int:
    failures = 0
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        namespace: dict[str, object] = {"__name__": "__example__"}
        blocks = list(BLOCK.finditer(text))
        for block in blocks:
            line = text[: block.start()].count("\n") + 2
            name = f"{path.relative_to(ROOT)}:{line}"
            try:
                exec(compile("\n" * (line - 1) + block[1], str(path), "exec"), namespace)
            except Exception:
                failures += 1
                print(f"FAILED {name}", file=sys.stderr)
                traceback.print_exc()
        print(f"{path.relative_to(ROOT)}: {len(blocks)} examples")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
