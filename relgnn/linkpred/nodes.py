"""Classification of nodes by graph convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config.ogb import NodeSettings
from relgnn.data.ogb import OgbNodes
from relgnn.dropout import Dropout
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.propagation import NodeVectors, Propagation, link_graph
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.runtime import model_device
from relgnn.training.task import NumberedTask


class NodeClassifier(nn.Module):
    """Logits of each node's classes from its features and its neighbourhood.

    Args:
        features: float32 [N, d_f].
        num_classes: C.
        settings: section `nodes`.
    """

    def __init__(self, features: Tensor, num_classes: int, settings: NodeSettings) -> None:
        super().__init__()
        dim, dropout = settings.dim, settings.dropout
        self.vectors = NodeVectors(len(features), dim, features, embedding=False)
        self.propagation = Propagation(dim, settings.steps, True, dropout)
        self.out = nn.Sequential(
            nn.LayerNorm(dim), nn.ReLU(), Dropout(dropout), nn.Linear(dim, num_classes)
        )

    def forward(self, graph: MessageGraph) -> Tensor:
        """Logits [N, C] after the messages of a graph over all nodes."""
        logits: Tensor = self.out(self.propagation(self.vectors(), graph))
        return logits


class NodeTask(NumberedTask):
    """Tell the classes of the training nodes, all of them in every step.

    Args:
        model: what is trained, on its device.
        data: its test labels are looked at by `measure("test")` alone.
        evaluator: of the data set.
        name: shown in progress and log.
    """

    rate_keys = ("nodes.lr", "nodes.clip")

    def __init__(
        self, model: NodeClassifier, data: OgbNodes, evaluator: OgbEvaluator, name: str
    ) -> None:
        self.name = name
        self.data, self.evaluator = data, evaluator
        self._model = model
        self.device = model_device(model)
        self.graph = link_graph(torch.from_numpy(data.edges), data.num_nodes).to(self.device)
        self.train = torch.from_numpy(data.nodes["train"]).to(self.device)
        self.batch_size = len(self.train)
        self.labels = torch.from_numpy(data.labels).to(self.device)

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def count(self) -> int:
        return len(self.train)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        nodes = self.train[batch.to(self.device)]
        return functional.cross_entropy(self._model(self.graph)[nodes], self.labels[nodes])

    def evaluate(self) -> dict[str, float]:
        return {self.evaluator.metric: self.measure("valid")}

    def measure(self, split: str) -> float:
        """OGB's metric of valid or test, the model as it is now."""
        with torch.no_grad():
            predicted = self._model(self.graph).argmax(1).cpu().numpy()
        nodes = self.data.nodes[split]
        return self.evaluator.nodes(self.data.labels[nodes], predicted[nodes])
