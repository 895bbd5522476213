"""What every step of a run works with: the given graph, its texts, the language model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from relgnn.config import Config
from relgnn.data import KnowledgeGraph, Sentence
from relgnn.linkpred.features import TextFeatures, encode_features
from relgnn.linkpred.fit import Fitted, fit_predictor, new_predictor
from relgnn.linkpred.model import shape_like
from relgnn.linkpred.supervision import Supervision
from relgnn.runtime import Runtime
from relgnn.text.encoder import TextEncoder
from relgnn.training import Keeping, Observer, load_tensors, restore_module
from relgnn.training.stages import Stages


@dataclass(frozen=True)
class World:
    """A run's fixed surroundings.

    Args:
        config: the resolved configuration.
        runtime: device, precision, seed.
        graph: cut to the configuration's fraction.
        encoder: the frozen language model.
        folder: the run folder, or None for a run that leaves nothing.
        resume: go on from what the folder holds.
        observe: called after every epoch of a predictor.
        stages: times what the run does.
    """

    config: Config
    runtime: Runtime
    graph: KnowledgeGraph
    encoder: TextEncoder
    folder: Path | None = None
    resume: bool = False
    observe: Observer | None = None
    stages: Stages = field(default_factory=Stages, compare=False)

    @cached_property
    def sentences(self) -> list[Sentence]:
        """The unlabelled corpus."""
        return self.graph.sentences()

    @cached_property
    def features(self) -> TextFeatures:
        """Encodings of the graph's nodes and relations."""
        return encode_features(self.graph, self.encoder, self.config.text.node_features)

    @property
    def num_relations(self) -> int:
        """The graph's, and in a loop one for pairs that text connects without saying how."""
        return self.graph.num_relations + (self.config.loop is not None)

    def fit(
        self,
        supervision: Supervision,
        name: str,
        *,
        features: TextFeatures | None = None,
        start: dict[str, torch.Tensor] | None = None,
        known: np.ndarray | None = None,
        valid: np.ndarray | None = None,
        weight_decay: float | None = None,
    ) -> Fitted:
        """Train a predictor under this world's configuration; see `fit_predictor`."""
        keeping = Keeping(resume=self.resume, observe=self.observe)
        if self.folder is not None:
            keeping = Keeping.of_run(self.folder, self.resume, self.observe)
        return fit_predictor(
            self.config,
            self.runtime,
            self.graph,
            features or self.features,
            supervision,
            name=name,
            num_relations=self.num_relations,
            start=start,
            known=known,
            valid=valid,
            weight_decay=weight_decay,
            keeping=keeping.part(name.replace(" ", "-")),
        )

    def load(self, supervision: Supervision, path: Path) -> Fitted:
        """A predictor that was trained before, with the context that it passes messages over.

        Args:
            supervision: what it was trained on.
            path: its checkpoint.

        Raises:
            InputError: the file is absent or damaged, or does not fit the configuration.
        """
        model = new_predictor(
            self.config, self.runtime, self.graph, self.features, self.num_relations
        )
        tensors, about = load_tensors(path, self.runtime.device)
        shape_like(model, tensors)
        restore_module(model, tensors, path)
        context = supervision.message_graph(self.graph.num_entities, model.num_relations)
        return Fitted(model.eval(), context.to(self.runtime.device), about.get("weight_decay"))


def make_encoder(config: Config, runtime: Runtime, cache: Path | None) -> TextEncoder:
    """The language model of a configuration, in the run's precision."""
    return TextEncoder(
        config.text.model,
        max_tokens=config.text.max_tokens,
        batch_tokens=config.text.batch_tokens,
        device=runtime.device,
        dtype=runtime.dtype,
        weights=config.text.weights,
        cache=cache,
    )
