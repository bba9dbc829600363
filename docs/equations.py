"""Equations of docstrings as MathML, which browsers draw by themselves: the site asks no server for a script."""

from __future__ import annotations

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

BLOCK = re.compile(r"^\.\. math::[ ]*(?P<body>.*(?:\n[ \t]+\S.*)*)", re.M)
INLINE = re.compile(r":math:`([^`]+)`")


class Equations(griffe.Extension):
    """Rewrites the `math` directive and role of every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = drawn(obj.docstring.value)


def drawn(text: str) -> str:
    r"""`text` with its LaTeX as MathML.

    >>> drawn(".. math:: a\n          + b").startswith('<div class="equation"><math')
    True
    """
    blocks = BLOCK.sub(lambda found: f'<div class="equation">{_markup(found["body"], "block")}</div>', text)
    return INLINE.sub(lambda found: _markup(found[1], "inline"), blocks)


def _markup(latex: str, display: str) -> str:
    return str(convert(" ".join(latex.split()), display=display))
