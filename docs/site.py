"""What the documentation's site adds to its Markdown: the README as first page, links that leave it as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """The README is the site's start; it is kept once, where a visitor of the repository looks first."""
    from mkdocs.structure.files import File  # only the site's builder has it

    text = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A link to a file of the repository that is no page becomes its text with the file's name."""

    def told(match: re.Match[str]) -> str:
        label, target = match[1], match[2]
        inside = (Path(page.file.src_uri).parent / target).as_posix()
        if files.get_file_from_path(inside) is not None:
            return match[0]
        name = target.replace("../", "")
        return f"{label} (`{name}`)" if label.strip("`") != name else f"`{name}`"

    return LINK.sub(told, markdown)
