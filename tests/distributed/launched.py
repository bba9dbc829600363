"""What `accelerate launch` runs: the comparison's loop, whose curves each process leaves in a file of its own.

accelerate launch --num_processes 2 -m tests.distributed.launched FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from accelerate import Accelerator

from tests.distributed.cases_loop import histories


def main(folder: Path) -> None:
    accelerator = Accelerator()
    found = {"processes": accelerator.num_processes, "histories": histories(accelerator)}
    file = folder / f"{accelerator.process_index}.json"
    accelerator.end_training()
    threads = [one.read_text().strip() for one in Path("/proc/self/task").glob("*/comm")]
    file.write_text(json.dumps({**found, "gloo": [one for one in threads if "gloo" in one]}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
