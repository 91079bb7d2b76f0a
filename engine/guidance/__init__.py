"""What an objective compares the network with while it trains: a teacher, reference weights, banks of representations.

An objective is a pure function and a row (`engine.objectives`); what it needs is collected and kept here, one file for
each thing that it may be compared with. The training loop calls the same few methods of all of them (M§4).
"""

from engine.guidance.banks import Contrasted
from engine.guidance.base import Guidance
from engine.guidance.dense import Anchored, Distilled, reference_weights
from engine.guidance.own import SelfRegularised

__all__ = ["Anchored", "Contrasted", "Distilled", "Guidance", "SelfRegularised", "reference_weights"]
