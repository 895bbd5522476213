"""What joins the supervised loss of a relation classifier, each an object of one contract."""

from relgnn.text.objectives.base import Objective, Step
from relgnn.text.objectives.r_drop import RDrop, symmetric_kl

__all__ = ["Objective", "RDrop", "Step", "symmetric_kl"]
