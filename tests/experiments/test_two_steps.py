"""Every configuration runs: two steps or a few more of each, on toys under the data sets' names.

Only what is learnt from and how long are small: a toy stands in each data set's place, one of a
few dimensions in each packaged language model's, and `SHORT` cuts epochs, episodes and sentences.
Every other knob is the configuration's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from experiments.jobs import Job, members, run_folder, table_configs
from experiments.results import expected_of, line_metrics
from relgnn.config import (
    AnyConfig,
    AnyScoreConfig,
    AutoencoderConfig,
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    DocumentConfig,
    EnsembleConfig,
    FewShotConfig,
    GenerativeConfig,
    InductiveConfig,
    JointConfig,
    NodeConfig,
    PairConfig,
    PretrainingRunConfig,
    RelationConfig,
    RerankConfig,
    RulesConfig,
    TripleConfig,
    load_run_config,
)
from relgnn.data import ogb
from relgnn.loop.runs import run_any
from relgnn.text import encoder, generation
from tests import ogb_sets
from tests.experiments.configs import DEMO, PATHS, name
from tests.experiments.sets import write_sets
from tests.text.augment.wordnet import write_wordnet
from tests.text.bert import write_bert
from tests.text.causal import write_causal

STEPS = 2

SHORT: dict[type[AnyConfig], tuple[str, ...]] = {
    Config: ("train.epochs=2", "train.eval_every=1"),
    InductiveConfig: ("inductive.epochs=1",),
    RulesConfig: (),
    RelationConfig: ("extraction.epochs=1",),
    JointConfig: ("joint.epochs=1",),
    DocumentConfig: ("document.tuning.epochs=1",),
    GenerativeConfig: ("generative.epochs=1", "generative.limit=4"),
    PretrainingRunConfig: ("pretraining.epochs=1", "pretraining.held_out=4"),
    FewShotConfig: ("few_shot.episodes=2",),
    BiEncoderConfig: ("biencoder.epochs=1", "biencoder.batch_size=16"),
    CrossEncoderConfig: ("crossencoder.epochs=1", "crossencoder.batch_size=4"),
    EnsembleConfig: (),
    RerankConfig: ("rerank.epochs=2",),
    PairConfig: ("pairs.dim=8", "pairs.epochs=2"),
    AutoencoderConfig: (),
    NodeConfig: ("nodes.dim=8", "nodes.epochs=2"),
    TripleConfig: ("decoder.dim=8", "train.epochs=2", "train.batch_size=16"),
}
"""Kind of run: what makes it short."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "loop": ("loop.extractor.epochs=1",),
    "metric": ("metric.ways=2", "metric.epochs=1", "metric.steps=2"),
    "pretraining": ("pretraining.epochs=1",),
    "attack": ("attack.sentences=4",),
}
"""Section that a configuration may have: what makes it short."""

RESULTS: dict[type[AnyConfig], set[str]] = {
    Config: {"mrr", "hits@1", "hits@3", "hits@10", "mrr_none"},
    InductiveConfig: {"mrr", "hits@1", "hits@3", "hits@10", "hits@10_of_50"},
    RulesConfig: {"mrr", "hits@1", "hits@3", "hits@10", "mrr_none"},
    RelationConfig: {"macro_f1", "micro_f1", "ece", "log_loss", "trained_parameters"},
    JointConfig: {"macro_f1", "micro_f1"},
    DocumentConfig: {"micro_f1"},
    GenerativeConfig: {"macro_f1", "micro_f1"},
    PretrainingRunConfig: set(),
    FewShotConfig: {"accuracy"},
    **dict.fromkeys(
        (BiEncoderConfig, CrossEncoderConfig, EnsembleConfig, RerankConfig),
        {"mrr", "hits@1", "hits@3", "hits@10"},
    ),
    **dict.fromkeys((PairConfig, AutoencoderConfig, NodeConfig, TripleConfig), {"parameters"}),
}
"""Kind of run: what a row of its results has at least."""


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with toy data sets, a WordNet and models, which all that is packaged leads to."""
    folder = tmp_path_factory.mktemp("toys")
    write_sets(folder / "data")
    write_wordnet(folder / "wordnet")
    bert = write_bert(folder / "bert", layers=6, positions=512, special=("[MASK]",))
    causal = write_causal(folder / "causal", positions=4096)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELGNN_DATA", str(folder / "data"))
        patch.setenv("RELGNN_CACHE", str(folder / "cache"))
        patch.setattr(
            encoder, "model_path", lambda model: {encoder.PACKAGED: bert}.get(model, model)
        )
        patch.setattr(ogb, "_export_apart", ogb_sets.export_here)
        patch.setattr(generation, "_place", lambda model, key: ({"smollm2": causal}[model], {}))
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def steps() -> Iterator[list[Optimizer]]:
    """The optimiser of every step that is made."""
    made: list[Optimizer] = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: made.append(optimizer))
    yield made
    handle.remove()


def shortened(path: Path, toys: Path, *more: str) -> AnyConfig:
    """The configuration, cut to a few steps, with `more` changes."""
    config = load_run_config(path)
    changes = ["runtime.device=cpu", *SHORT[type(config)], *more]
    for section, short in SECTIONS.items():
        if getattr(config, section, None) is not None:
            changes += short
    augmentation = getattr(config, "augmentation", None)
    if augmentation is not None and augmentation.wordnet is not None:
        changes.append(f"augmentation.wordnet={toys / 'wordnet'}")
    return load_run_config(path, changes)


def trains(config: AnyConfig) -> bool:
    """Whether a run of this kind makes steps at all."""
    return not (
        isinstance(config, RulesConfig | EnsembleConfig | AutoencoderConfig)
        or (isinstance(config, InductiveConfig) and config.inductive.method == "pagerank")
        or (isinstance(config, FewShotConfig) and config.metric is None)
        or (isinstance(config, DocumentConfig) and config.document.method != "tuned")
        or (isinstance(config, GenerativeConfig) and config.generative.mode == "prompted")
    )


@pytest.mark.parametrize("path", [*PATHS, DEMO], ids=name)
def test_config_runs(path: Path, toys: Path, tmp_path: Path, steps: list[Optimizer]) -> None:
    config = shortened(path, toys)
    if isinstance(config, AnyScoreConfig):
        for member in members(Job(path.parent.name, path.stem, 0, config)):
            own = table_configs(member.table)[member.name]
            short = shortened(own, toys, f"data.fraction={config.data.fraction}")
            run_any(short, run_folder(member, tmp_path))
        steps.clear()
    metrics = run_any(config, tmp_path / path.parent.name / "run")
    assert (len(steps) >= STEPS) if trains(config) else not steps
    rows = set(Job(path.parent.name, path.stem, 0, config).rows)
    if len(metrics.get("rounds", ())) == 1:
        rows = {row for row in rows if not row.endswith("+read")}  # it kept round 0
    assert set(metrics["rows"]) == rows
    for result, row in metrics["rows"].items():
        found = line_metrics(row)
        check_result(config, found)
        assert expected_of(config, result).keys() - {"source"} <= found.keys()


def check_result(config: AnyConfig, found: dict[str, float]) -> None:
    assert found.keys() >= RESULTS[type(config)]
    if isinstance(config, PretrainingRunConfig):
        assert {f"{key}_before" for key in found if not key.endswith("_before")} < found.keys()
    shares = [value for key, value in found.items() if key.endswith(("_f1", "mrr", "accuracy"))]
    assert all(0 <= value <= 1 for value in shares)
