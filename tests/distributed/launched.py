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
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(found), encoding="utf-8")
    accelerator.end_training()  # threads of gloo that are still there when the interpreter goes abort it now and then


if __name__ == "__main__":
    main(Path(sys.argv[1]))
