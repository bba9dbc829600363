"""How the Balancer gets from losses to `.grad`: one file for each way, and `choose`, which takes the cheapest."""

from mtlgrad.engines.base import Call, Cost, Engine, Outcome, Window
from mtlgrad.engines.choose import ENGINES, Choice, choose
from mtlgrad.engines.serve import Attendant

__all__ = ["ENGINES", "Attendant", "Call", "Choice", "Cost", "Engine", "Outcome", "Window", "choose"]
