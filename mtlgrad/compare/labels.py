"""What rows are called: as part of a file name, by mistake, and where tuning and controls make rows of their own."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Sequence

NAMED = 4
"""So many names a sentence lists before it counts the rest."""
MOST_LETTERS = 60
"""Of a label that a suite gives."""

TUNED = "{} (tuned)"
TRIAL = "{} (trial {})"
WEIGHTS = "tuned weights"
"""The control of constant weights, which exists tuned only."""
_FROZEN = "frozen {}"
_EQUAL_TIME = "{} (equal time)"
_ALONE = "only {}"


def frozen_twin(label: str) -> str:
    """Of the row with the average weights of this one, held fixed.

    >>> frozen_twin("GH"), len(frozen_twin("G" * 60))
    ('frozen GH', 60)
    """
    return _FROZEN.format(label)[:MOST_LETTERS]


def at_equal_time(label: str) -> str:
    """Of the row with as many steps as fit in the baseline's time.

    >>> at_equal_time("GH")
    'GH (equal time)'
    """
    return _EQUAL_TIME.format(label)[:MOST_LETTERS]


def alone(task: str) -> str:
    """Of the row that trains one task only.

    >>> alone("depth")
    'only depth'
    """
    return _ALONE.format(task)[:MOST_LETTERS]


def listed(names: Sequence[str], most: int | None = None) -> str:
    """At least one name, in a sentence; of more than `most` and one, the first are named and the rest counted.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 more')
    """
    shown = list(names)
    if most is not None and len(shown) > most + 1:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def slug(label: str) -> str:
    """A label as part of a file name. Letters that it cannot hold make it end in a digest, so that labels differ.

    >>> slug("GH++ (rotation)"), slug("λ=0.5") == slug("μ=0.5")
    ('ghpp-rotation', False)
    """
    plain = unicodedata.normalize("NFKC", label).casefold().replace("++", "pp").replace("\N{MINUS SIGN}", "minus ")
    name = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")
    if name and not any(letter.isalnum() and not letter.isascii() for letter in plain):
        return name
    return f"{name}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}".lstrip("-")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint for an error message: the known name that was probably meant.

    >>> did_you_mean("AT-TIRG", ["sum", "AT-TIRG (sum)"]), did_you_mean("x", ["sum"])
    (" (did you mean 'AT-TIRG (sum)'?)", '')
    """
    plain = {one.casefold(): one for one in known}
    inside = [one for one in plain if name.casefold() in one] if len(name) > 1 else []
    close = inside or difflib.get_close_matches(name.casefold(), plain, n=1)
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""
