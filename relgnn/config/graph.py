"""Configuration of link prediction, and of the loop that alternates it with reading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from relgnn.config.base import (
    Count,
    Dropout,
    Fraction,
    Probability,
    Rate,
    RunConfig,
    Section,
    Weight,
)
from relgnn.config.defence import DefenceConfig
from relgnn.config.rules import MiningConfig
from relgnn.config.signals import (
    ConsistencyConfig,
    CoteachingConfig,
    MemoryConfig,
    NodeAdversarialConfig,
    ViewContrastConfig,
)
from relgnn.config.tracking import TrackingConfig


class TextConfig(Section):
    """The language model and what it reads of a node."""

    model: str = Field("minilm", description="'minilm' (packaged) or a Hugging Face name or path")
    node_features: Literal["node", "page", "name", "none"] = Field(
        "node",
        description="node: name, description, first sentence; page: all text; name: that alone; "
        "none",
    )
    weight: Rate = Field(
        1.0, description="factor of a node's encoding: small where much is given and text overfits"
    )
    weights: Literal["full", "int8"] = Field(
        "full", description="int8: the encoder in a quarter of float32's memory"
    )
    max_tokens: Count = Field(128, description="longer texts are cut")
    batch_tokens: Count = Field(
        8192, description="tokens encoded at once; a CPU takes at most 2048"
    )
    feature_dropout: Dropout = Field(
        0.2, description="share of a node's encoding left out of a step"
    )
    cache: Path | None = Field(None, description="folder of cached vectors; null: the user's cache")


class GnnConfig(Section):
    """The graph encoder."""

    kind: Literal["rgcn", "compgcn", "attention", "none"] = Field(
        "rgcn", description="graph encoder"
    )
    layers: Count = Field(1, description="rounds of message passing")
    bases: Count = Field(4, description="bases, or blocks, of R-GCN's weights")
    decomposition: Literal["basis", "block"] = Field(
        "basis", description="of R-GCN's weights; only with bases does text make them"
    )
    alpha: bool = Field(
        True, description="R-GCN's own coefficients; false: text alone, for relations never seen"
    )
    heads: Count = Field(4, description="heads of attention")
    composition: Literal["sub", "mult", "corr"] = Field("mult", description="CompGCN's composition")
    dropout: Dropout = Field(0.2, description="dropout of a layer's output")
    edge_dropout: Dropout = Field(0.3, description="share of edges left out of a training step")
    target_dropout: Probability = Field(
        0.5, description="share of a step's own target triples whose edges are left out"
    )
    evidence: bool = Field(True, description="edge coefficients read the edge's own evidence")
    evidence_mask: Literal["edge", "pair"] = Field(
        "edge",
        description="whose evidence is hidden while an edge is a target: its own, or that of all "
        "edges between the same two nodes, of which some hold the same sentences",
    )
    fan_out: tuple[Count, ...] | None = Field(
        None,
        description="for each layer, messages drawn into a node in a training step; null: all of "
        "the graph, every step",
    )


class DecoderConfig(Section):
    """The scoring function of a triple."""

    kind: Literal["distmult", "complex", "conve", "transe", "rotate"] = Field(
        "complex", description="decoder"
    )
    dim: Count = Field(200, description="size of an entity's vector")
    dropout: Dropout = Field(0.3, description="dropout of the decoder's inputs")


class TrainConfig(Section):
    """How the graph model is trained."""

    epochs: Count = Field(200, description="passes over the training triples at most")
    batch_size: Count = Field(1024, description="queries of a step")
    lr: Rate = Field(0.003, description="Adam's learning rate")
    weight_decay: Weight | Annotated[tuple[Weight, ...], Field(min_length=1)] = Field(
        0.0, description="decoupled weight decay; of several, valid chooses one in every training"
    )
    n3: Weight = Field(0.0, description="weight of the N3 regulariser")
    relation_prediction: Weight = Field(
        0.0, description="weight of also predicting each target's relation from its two ends"
    )
    label_smoothing: Dropout = Field(0.1, description="mass spread over all entities")
    loss: Literal["cross_entropy", "bce", "margin", "self_adversarial"] = Field(
        "cross_entropy", description="the first two score all entities, the others sample"
    )
    negative_sampler: Literal["uniform", "typed"] = Field(
        "uniform", description="'typed': only entities seen in that place of the relation"
    )
    negatives: Count = Field(64, description="false triples per true one of the sampled losses")
    patience: Count | None = Field(
        5, description="evaluations on valid without gain before stopping; null: all epochs"
    )
    eval_every: Count = Field(10, description="epochs between evaluations on valid")
    accumulate: Count = Field(1, description="batches whose gradients make one step")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.0, description="share of all steps over which the rate rises")
    clip: Weight = Field(0.0, description="largest gradient norm; 0: no clipping")
    adversarial: NodeAdversarialConfig | None = Field(
        None, description="also the loss of encoded nodes moved against it; null: none"
    )
    contrast: ViewContrastConfig | None = Field(
        None, description="contrast of nodes between two draws of the context; null: none"
    )


class ExtractorConfig(Section):
    """The relation extractor that reads sentences."""

    epochs: Count = Field(4, description="passes over the distantly supervised sentences")
    lr: Rate = Field(0.001, description="peak learning rate")
    layers: Count = Field(1, description="top layers that are tuned; those below are cached")
    max_candidates: int = Field(
        6000, ge=0, description="sentences read in a round at most, likeliest first; 0: none"
    )


Pooling = Literal["logsumexp", "mean", "noisy_or", "attention"]
Control = Literal["alltext", "comention", "shuffled", "random_pairs", "oracle", "read"]


class LoopConfig(Section):
    """The alternation of text and graph."""

    rounds: Count = Field(2, description="rounds of E and M at most")
    folds: int = Field(4, ge=2, description="folds of the cross-fitting")
    cross_fitted: bool = Field(
        True,
        description="false: views judge what they were taught, which shows what it costs; for "
        "comparison only",
    )
    candidates: Count = Field(40000, description="triples that all views judge in a round at most")
    implied: int = Field(
        20000, ge=0, description="pairs that the graph proposes for the text to judge at most"
    )
    label_frequency: Literal["elkan_noto_mean", "elkan_noto_quantile", "best_bin", "tice"] = Field(
        "elkan_noto_quantile", description="estimator of the share of true triples that is given"
    )
    label_frequency_by_relation: bool = Field(
        False, description="that share is each relation's own, shrunk to that of all"
    )
    selector: Literal[
        "precision", "budget", "fixed", "flex", "free", "soft", "class_top", "agreement",
        "curriculum", "conformal",
    ] = Field("precision", description="what bounds the accepted triples")  # fmt: skip
    precision: Fraction = Field(0.7, description="mean precision that the accepted must reach")
    precision_start: Fraction = Field(
        0.95, description="that of round 1 of selector curriculum, falling to it in the last round"
    )
    threshold: Fraction = Field(
        0.95, description="probability that fixed and flex ask for, and agreement of each view"
    )
    voters: int = Field(2, ge=1, le=3, description="views that must speak for agreement")
    delta: float = Field(
        0.1, gt=0, lt=1, description="chance that the precision of selector conformal is not kept"
    )
    bound: Literal["binomial", "hoeffding_bentkus"] = Field(
        "binomial", description="p-values of selector conformal"
    )
    cap: Rate | None = Field(
        None, description="accepted triples per gold one at most, of any selector; null: no cap"
    )
    min_probability: Fraction = Field(0.3, description="nothing below is accepted")
    connect: Probability = Field(
        0.3, description="pairs that some relation connects this surely join without a type"
    )
    budget: Rate = Field(
        1.0, description="accepted triples per gold one, of budget, and by relation of class_top"
    )
    context: bool = Field(True, description="accepted triples carry messages")
    targets: bool = Field(True, description="accepted triples are training targets")
    target_weight: Weight = Field(0.3, description="weight of an accepted target; gold weighs 1")
    target_weighting: Literal["posterior", "logit", "uniform"] = Field(
        "posterior",
        description="what an accepted target's weight is proportional to: its posterior (of "
        "selector soft its weight), the log odds of it (0 up to even odds), or nothing",
    )
    target_floor: Probability = Field(
        0.0, description="accepted triples below this posterior are no targets"
    )
    context_weight: Weight = Field(
        1.0,
        description="factor of an accepted triple's messages, beside its posterior (of selector "
        "soft its weight)",
    )
    pseudo_loss: Literal["plain", "gce", "bootstrap"] = Field(
        "plain",
        description="loss of accepted targets: as of gold, generalised cross-entropy, or soft "
        "bootstrapping",
    )
    gce_q: Fraction = Field(
        0.7, description="gce: from cross-entropy (towards 0) to one minus the probability (1)"
    )
    bootstrap_beta: Probability = Field(
        0.95, description="bootstrap: share of the label; the rest is the model's own answer"
    )
    consistency: ConsistencyConfig | None = Field(
        None, description="text and graph agree on accepted targets; null: not asked for"
    )
    memory: MemoryConfig | None = Field(
        None,
        description="after every training, vectors beside the predictor learn the posterior of all "
        "candidates, accepted or not; null: they do not",
    )
    coteaching: CoteachingConfig | None = Field(
        None, description="two predictors choose each other's accepted targets; null: one alone"
    )
    polish_epochs: int = Field(
        0, ge=0, description="epochs on gold targets alone that end every training"
    )
    polish_lr: Rate = Field(0.0003, description="learning rate of these epochs")
    unlabelled_weight: Weight = Field(
        0.3, description="weight of an unlabelled pair as a negative of the text models"
    )
    extractor: ExtractorConfig = Field(
        default_factory=ExtractorConfig, description="the relation extractor"
    )
    weighing: Literal["fused", "em"] = Field(
        "fused",
        description="fused: a regression weighs the views; em: the graph is the prior, text and "
        "rules are independent evidence, and no round is averaged with those before",
    )
    rules: MiningConfig | None = Field(
        None,
        description="mined rules judge beside text and graph; null: they do not",
    )
    coreference: bool = Field(
        False, description='a subject "she" or "the band" is a mention too; English texts only'
    )
    pooling: Pooling = Field(
        "logsumexp", description="what the extractor says of a pair's sentences becomes one logit"
    )
    defence: DefenceConfig | None = Field(
        None, description="against planted sentences; null: every sentence is believed alike"
    )
    warm_start: bool = Field(False, description="a round starts from the last one's weights")
    patience: Count = Field(
        1, description="rounds significantly worse on valid than the best before stopping"
    )
    controls: tuple[Control, ...] = Field(
        (), description="rows of the loop table that are trained or read beside the loop"
    )

    @model_validator(mode="after")
    def _selector_fits(self) -> LoopConfig:
        if self.selector == "curriculum" and self.precision_start < self.precision:
            raise ValueError(
                f"selector curriculum falls from precision_start {self.precision_start} to "
                f"precision {self.precision}; give a start of at least the latter"
            )
        if self.selector == "agreement" and self.voters == 3 and self.rules is None:
            raise ValueError(
                "selector agreement waits for voters: 3 views, of which rules are one; add a "
                "section loop.rules, or set loop.voters=2"
            )
        differs = self.selector == "conformal" and self.label_frequency_by_relation
        if differs and self.bound == "binomial":
            raise ValueError(
                "selector conformal with label_frequency_by_relation weighs labels by relation, "
                "and bound 'binomial' counts them; set loop.bound=hoeffding_bentkus"
            )
        if self.selector == "conformal" and self.weighing == "em":
            raise ValueError(
                "selector conformal is calibrated on given triples as though they were not given, "
                "and weighing em makes them certain; set loop.weighing=fused or another "
                "loop.selector"
            )
        return self


def require_context(gnn: GnnConfig, train: TrainConfig) -> None:
    """Refuse a fan-out without one number for each layer, and a contrast where there is no context.

    Raises:
        ValueError: it is one.
    """
    if gnn.fan_out is not None and len(gnn.fan_out) != gnn.layers:
        raise ValueError(
            f"gnn.fan_out has {len(gnn.fan_out)} numbers for gnn.layers={gnn.layers}; give "
            "one for each layer"
        )
    if train.contrast is not None and gnn.kind == "none":
        raise ValueError(
            "train.contrast compares draws of the context, and gnn.kind=none reads no context; "
            "set train.contrast=null or another gnn.kind"
        )


class Config(RunConfig):
    """A run of link prediction, alternating with reading where it has a loop."""

    text: TextConfig = Field(default_factory=TextConfig, description="the language model")
    gnn: GnnConfig = Field(default_factory=GnnConfig, description="the graph encoder")
    decoder: DecoderConfig = Field(default_factory=DecoderConfig, description="the decoder")
    train: TrainConfig = Field(default_factory=TrainConfig, description="training")
    loop: LoopConfig | None = Field(None, description="the alternation; null: train once")
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="its curves")

    @model_validator(mode="after")
    def _context_fits(self) -> Config:
        require_context(self.gnn, self.train)
        fan_out, loss = self.gnn.fan_out, self.train.loss
        if fan_out is not None and loss in ("cross_entropy", "bce"):
            raise ValueError(
                f"gnn.fan_out needs a loss that samples, and train.loss={loss} scores all "
                "entities; set train.loss=self_adversarial or margin"
            )
        return self

    @model_validator(mode="after")
    def _pseudo_loss_fits(self) -> Config:
        loop, loss = self.loop, self.train.loss
        if loop is not None and loop.pseudo_loss != "plain" and loss != "cross_entropy":
            raise ValueError(
                f"loop.pseudo_loss={loop.pseudo_loss} is of a softmax over all entities, and "
                f"train.loss={loss} has none; set train.loss=cross_entropy or "
                "loop.pseudo_loss=plain"
            )
        return self
