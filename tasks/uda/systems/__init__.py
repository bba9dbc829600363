"""Systems of unsupervised domain adaptation by name. Adding one is a file and a line here."""

from __future__ import annotations

from tasks.uda.systems.base import Batch, Setting, System
from tasks.uda.systems.cdan_e import CDANE
from tasks.uda.systems.dann import DANN
from tasks.uda.systems.dwl import DWL
from tasks.uda.systems.gvb import GVB
from tasks.uda.systems.mcd import MCD
from tasks.uda.systems.source_only import SourceOnly
from tasks.uda.systems.ssrt import SSRT

SYSTEMS: dict[str, type[System]] = {
    "source_only": SourceOnly,
    "dann": DANN,
    "cdan_e": CDANE,
    "mcd": MCD,
    "dwl": DWL,
    "gvb": GVB,
    "ssrt": SSRT,
}
"""Name to class."""

__all__ = ["SYSTEMS", "Batch", "Setting", "System"]
