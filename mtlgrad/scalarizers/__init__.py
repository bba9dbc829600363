"""Methods that read loss values only."""

from mtlgrad.scalarizers.base import Scalarizer, StatefulScalarizer
from mtlgrad.scalarizers.dwa import DWA
from mtlgrad.scalarizers.dwl import DWL
from mtlgrad.scalarizers.famo import FAMO
from mtlgrad.scalarizers.fixed import Fixed, Mean, Sum
from mtlgrad.scalarizers.gls import GLS
from mtlgrad.scalarizers.imtl_l import IMTLL
from mtlgrad.scalarizers.rlw import RLW
from mtlgrad.scalarizers.si import SILS
from mtlgrad.scalarizers.stch import STCH
from mtlgrad.scalarizers.uncertainty import UW

__all__ = [
    "DWA",
    "DWL",
    "FAMO",
    "Fixed",
    "GLS",
    "IMTLL",
    "Mean",
    "RLW",
    "SILS",
    "STCH",
    "Scalarizer",
    "StatefulScalarizer",
    "Sum",
    "UW",
]
