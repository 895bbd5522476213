"""Typed configuration: one documented default per knob, and an unknown key is an error.

A configuration is one YAML file. `load_config` reads it, applies `key.sub=value` overrides and
turns every mistake into one line that names the key, the value and what was expected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from relgnn.config_errors import explain, one_line
from relgnn.config_yaml import parse, tree_of
from relgnn.errors import InputError

Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Marking = Literal["special", "typed", "punctuation", "mask", "none"]

# what decides where and how fast a run goes, or describes it, but not what it computes
NOT_HASHED = ("runtime", "source", "expected", "budget")


# keys younger than some recorded results: at these values a run computes what it did without them,
# so that they do not change its hash
YOUNGER: dict[str, dict[str, Any]] = {
    "text": {"weights": "full"},
    "gnn": {"decomposition": "basis", "alpha": True, "heads": 4, "fan_out": None},
}


class Section(BaseModel):
    """Base of every section: immutable, strictly typed, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which knowledge graph, and how much of it is given."""

    name: str | None = Field(None, description="named data set (`relgnn data list`)")
    path: Path | None = Field(None, description="a user's own folder (`relgnn data check`)")
    fraction: Fraction = Field(1.0, description="share of train and valid that is given")
    split_seed: int = Field(0, ge=0, description="which frozen draw of the fraction")

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("needs exactly one of data.name and data.path")
        return self


class TextConfig(Section):
    """The language model and what it reads of a node."""

    model: str = Field("minilm", description="'minilm' (packaged) or a Hugging Face name or path")
    node_features: Literal["node", "page", "none"] = Field(
        "node", description="node: name, description, first sentence; page: all text; none"
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
    weight_decay: Weight = Field(0.0, description="decoupled weight decay")
    n3: Weight = Field(0.0, description="weight of the N3 regulariser")
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


class ExtractorConfig(Section):
    """The relation extractor that reads sentences."""

    epochs: Count = Field(4, description="passes over the distantly supervised sentences")
    lr: Rate = Field(0.001, description="peak learning rate")
    layers: Count = Field(1, description="top layers that are tuned; those below are cached")
    max_candidates: int = Field(
        6000, ge=0, description="sentences read in a round at most, likeliest first; 0: none"
    )


Control = Literal["alltext", "comention", "shuffled", "random_pairs", "oracle", "read"]


class LoopConfig(Section):
    """The alternation of text and graph."""

    rounds: Count = Field(2, description="rounds of E and M at most")
    folds: int = Field(4, ge=2, description="folds of the cross-fitting")
    candidates: Count = Field(40000, description="triples that all views judge in a round at most")
    implied: int = Field(
        20000, ge=0, description="pairs that the graph proposes for the text to judge at most"
    )
    label_frequency: Literal["elkan_noto_mean", "elkan_noto_quantile", "best_bin"] = Field(
        "elkan_noto_quantile", description="estimator of the share of true triples that is given"
    )
    selector: Literal["precision", "budget"] = Field(
        "precision", description="what bounds the accepted triples"
    )
    precision: Probability = Field(0.7, description="mean precision that the accepted must reach")
    min_probability: Probability = Field(0.3, description="nothing below is accepted")
    connect: Probability = Field(
        0.3, description="pairs that some relation connects this surely join without a type"
    )
    budget: Rate = Field(1.0, description="accepted triples per gold one, of selector budget")
    context: bool = Field(True, description="accepted triples carry messages")
    targets: bool = Field(True, description="accepted triples are training targets")
    target_weight: Weight = Field(0.3, description="weight of an accepted target; gold weighs 1")
    unlabelled_weight: Weight = Field(
        0.3, description="weight of an unlabelled pair as a negative of the text models"
    )
    extractor: ExtractorConfig = Field(
        default_factory=ExtractorConfig, description="the relation extractor"
    )
    warm_start: bool = Field(False, description="a round starts from the last one's weights")
    patience: Count = Field(
        1, description="rounds significantly worse on valid than the best before stopping"
    )
    controls: tuple[Control, ...] = Field(
        (), description="rows of the loop table that are trained or read beside the loop"
    )


class RuntimeConfig(Section):
    """Where a run goes; not part of the configuration's hash."""

    seed: int = Field(0, ge=0, description="of every named random stream")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where it is")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: text is encoded in bf16 where native, training is fp32"
    )
    threads: Count | None = Field(None, description="null: as many as the libraries choose")
    backend: Literal["native", "pyg", "dgl"] = Field(
        "native", description="what sums over edges: own kernels, PyTorch Geometric or DGL"
    )
    deterministic: bool = Field(True, description="only operations that repeat bit by bit")


class BudgetConfig(Section):
    """What a run may cost."""

    hours: Rate = Field(description="wall-clock hours on the hardware of `source`")


Run = TypeVar("Run", bound="RunConfig")


class RunConfig(Section):
    """What every kind of run has."""

    data: DataConfig = Field(description="the data set")
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig, description="where it runs")
    source: str | None = Field(None, description="where the expected figures are from")
    expected: dict[str, float] = Field(default_factory=dict, description="metric: figure")
    budget: BudgetConfig | None = Field(None, description="what the run may cost")

    def to_yaml(self) -> str:
        """The resolved configuration as YAML, which `load_config` reads back to an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def sha256(self) -> str:
        """Hash of what the run computes: canonical JSON without `NOT_HASHED` and idle `YOUNGER`."""
        content = self.model_dump(mode="json", exclude=set(NOT_HASHED))
        for section, keys in YOUNGER.items():
            for key in keys.keys() & content.get(section, {}).keys():
                if content[section][key] == keys[key]:
                    del content[section][key]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Config(RunConfig):
    """A run of link prediction, alternating with reading where it has a loop."""

    text: TextConfig = Field(default_factory=TextConfig, description="the language model")
    gnn: GnnConfig = Field(default_factory=GnnConfig, description="the graph encoder")
    decoder: DecoderConfig = Field(default_factory=DecoderConfig, description="the decoder")
    train: TrainConfig = Field(default_factory=TrainConfig, description="training")
    loop: LoopConfig | None = Field(None, description="the alternation; null: train once")

    @model_validator(mode="after")
    def _fan_out_fits(self) -> Config:
        fan_out, loss = self.gnn.fan_out, self.train.loss
        if fan_out is not None and len(fan_out) != self.gnn.layers:
            raise ValueError(
                f"gnn.fan_out has {len(fan_out)} numbers for gnn.layers={self.gnn.layers}; give "
                "one for each layer"
            )
        if fan_out is not None and loss in ("cross_entropy", "bce"):
            raise ValueError(
                f"gnn.fan_out needs a loss that samples, and train.loss={loss} scores all "
                "entities; set train.loss=self_adversarial or margin"
            )
        return self


class TuningConfig(Section):
    """How a language model is tuned to say which relation a sentence states."""

    marking: Marking = Field("special", description="how both entities are marked in the sentence")
    pooling: Literal["markers", "spans", "both"] = Field(
        "both", description="what stands for an entity: its marker's state, its tokens' mean, both"
    )
    first: bool = Field(True, description="the state of the first token joins")
    epochs: Count = Field(10, description="passes over the labelled sentences at most")
    batch_size: Count = Field(16, description="sentences of a step")
    lr: Rate = Field(2e-4, description="peak learning rate of the language model")
    head_lr: Rate = Field(1e-3, description="peak learning rate of the classifier")
    layer_decay: Fraction = Field(1.0, description="factor of the rate from a layer to the next")
    weight_decay: Weight = Field(0.01, description="decoupled weight decay")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.1, description="share of all steps over which the rate rises")
    clip: Weight = Field(1.0, description="largest gradient norm; 0: no clipping")
    dropout: Dropout = Field(0.1, description="of the classifier's input and the language model")
    label_smoothing: Dropout = Field(0.0, description="mass spread over all labels")
    focal: Weight = Field(0.0, description="γ of the focal loss; 0: cross-entropy")
    r_drop: Weight = Field(0.0, description="weight of the difference between two dropout masks")
    layers: int | None = Field(
        None, ge=0, description="upper layers that are tuned; 0: frozen; null: all and embeddings"
    )
    metric: Literal["macro_f1", "micro_f1"] = Field("macro_f1", description="what valid selects by")
    patience: Count | None = Field(
        None, description="epochs without gain on valid before stopping; null: all epochs"
    )
    refit: bool = Field(
        False, description="train again on train and valid for as many epochs as valid chose"
    )


class ReaderConfig(Section):
    """The language model that is tuned."""

    model: str = Field("minilm", description="'minilm' (packaged) or a Hugging Face name or path")
    max_tokens: Count = Field(128, description="of longer sentences, those nearest to an entity")


class RelationConfig(RunConfig):
    """A run of supervised relation extraction."""

    text: ReaderConfig = Field(default_factory=ReaderConfig, description="the language model")
    extraction: TuningConfig = Field(description="how it is tuned")


class FewShotTasks(Section):
    """What a frozen encoder is asked to tell apart."""

    ways: int = Field(5, ge=2, description="relations of a task")
    shots: int = Field(1, ge=0, description="examples of each; 0: its name and description")
    queries: Count = Field(5, description="questions about each")
    episodes: Count = Field(2000, description="tasks drawn")


class FewShotConfig(RunConfig):
    """A measurement of relations that nothing is trained on."""

    text: ReaderConfig = Field(default_factory=ReaderConfig, description="the language model")
    few_shot: FewShotTasks = Field(description="the tasks")


AnyConfig = Config | RelationConfig | FewShotConfig


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration of link prediction; see `load_run_config`.

    Raises:
        InputError: also where it is one of relation extraction.
    """
    found = load_run_config(path, overrides)
    if not isinstance(found, Config):
        raise InputError(
            f"{path}: is a run of relation extraction, expected link prediction; give another "
            "configuration"
        )
    return found


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a configuration file.

    Args:
        path: a YAML file.
        overrides: `key.sub=value` strings, values in YAML; later ones win.

    Returns:
        The checked configuration; of relation extraction where it has `extraction:` or `few_shot:`.

    Raises:
        InputError: the file cannot be read or is not YAML, a key is unknown, a value is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot read the configuration ({one_line(error)}); give a UTF-8 YAML file"
        ) from None
    tree, places = tree_of(parse(text, str(path)), overrides, str(path))
    if "extraction" in tree:
        return _checked(RelationConfig, tree, places, str(path))
    if "few_shot" in tree:
        return _checked(FewShotConfig, tree, places, str(path))
    return _checked(Config, tree, places, str(path))


def make_config(
    content: Any, overrides: Sequence[str] = (), origin: str = "configuration"
) -> Config:
    """Check a configuration of link prediction that was read or built elsewhere.

    Args:
        content: a mapping of sections.
        overrides: `key.sub=value` strings, values in YAML; later ones win.
        origin: what errors name as the place of a mistake.

    Raises:
        InputError: a key is unknown or a value is wrong.
    """
    return _checked(Config, *tree_of(content, overrides, origin), origin)


def _checked(
    kind: type[Run], tree: Mapping[str, Any], places: Mapping[str, str], origin: str
) -> Run:
    try:
        # from JSON, because strict mode then takes texts as paths and mappings as sections
        return kind.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise InputError(explain(error, origin, places, list(known_keys(kind)))) from None


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every key that a configuration may have, dotted, sections before what they hold."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = _section_of(field.annotation)
        if section is not None:
            yield from known_keys(section, f"{prefix}{name}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
