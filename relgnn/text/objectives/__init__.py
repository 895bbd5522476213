"""What joins the supervised loss of a relation classifier, each an object of one contract."""

from relgnn.text.objectives.adversarial import Adversarial, Virtual
from relgnn.text.objectives.base import Objective, Step
from relgnn.text.objectives.contrast import BatchContrast, QueueContrast
from relgnn.text.objectives.debias import Counterfactual
from relgnn.text.objectives.fairness import Fairness
from relgnn.text.objectives.mixup import Mixup
from relgnn.text.objectives.r_drop import RDrop, symmetric_kl

__all__ = [
    "Adversarial", "BatchContrast", "Counterfactual", "Fairness", "Mixup", "Objective",
    "QueueContrast", "RDrop", "Step", "Virtual", "symmetric_kl",
]  # fmt: skip
