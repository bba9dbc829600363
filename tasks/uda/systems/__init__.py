"""Systems of unsupervised domain adaptation by name. Adding one is a file and a line here."""

from __future__ import annotations

from tasks.uda.systems.adda import ADDA
from tasks.uda.systems.alda import ALDA
from tasks.uda.systems.base import Batch, Setting, System
from tasks.uda.systems.bnm import BNM
from tasks.uda.systems.bsp import BSP
from tasks.uda.systems.cdan_e import CDANE
from tasks.uda.systems.cgdm import CGDM
from tasks.uda.systems.dan import DAN
from tasks.uda.systems.dann import DANN
from tasks.uda.systems.dwl import DWL
from tasks.uda.systems.fgda import FGDA
from tasks.uda.systems.gvb import GVB
from tasks.uda.systems.jan import JAN
from tasks.uda.systems.mcd import MCD
from tasks.uda.systems.mdd import MDD
from tasks.uda.systems.meta_align import MetaAlign
from tasks.uda.systems.pareto_da import ParetoDA
from tasks.uda.systems.safn import SAFN
from tasks.uda.systems.shot import SHOT
from tasks.uda.systems.source_only import SourceOnly
from tasks.uda.systems.ssrt import SSRT
from tasks.uda.systems.swd import SWD
from tasks.uda.systems.symnets import SymNets

SYSTEMS: dict[str, type[System]] = {
    "source_only": SourceOnly,
    "dann": DANN,
    "dan": DAN,
    "jan": JAN,
    "mdd": MDD,
    "cdan_e": CDANE,
    "mcd": MCD,
    "dwl": DWL,
    "gvb": GVB,
    "ssrt": SSRT,
    "meta_align": MetaAlign,
    "pareto_da": ParetoDA,
    "cgdm": CGDM,
    "fgda": FGDA,
    "bsp": BSP,
    "safn": SAFN,
    "bnm": BNM,
    "swd": SWD,
    "adda": ADDA,
    "alda": ALDA,
    "symnets": SymNets,
    "shot": SHOT,
}
"""Name to class."""

__all__ = ["SYSTEMS", "Batch", "Setting", "System"]
