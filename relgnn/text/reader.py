"""A relation classifier together with what turns sentences into its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from torch import Tensor

from relgnn.config import FewShotConfig, GenerativeConfig, RelationConfig, load_run_config
from relgnn.data.prepare import with_negatives
from relgnn.data.registry import folder_of
from relgnn.data.relations import Example, RelationData, read_relations
from relgnn.data.shares import few_labels
from relgnn.errors import InputError
from relgnn.posterior.softmax import LabelCalibrator
from relgnn.ranking.classification import f1_scores
from relgnn.runtime import Runtime, drawn_from, rng
from relgnn.text.characters import with_characters
from relgnn.text.classifier import RelationClassifier, logits_of
from relgnn.text.debias import best_share, debiased
from relgnn.text.efficient import as_saved, attach
from relgnn.text.encoder import load_model, require_positions
from relgnn.text.ensemble import Ensemble, member_seed
from relgnn.text.hiding import Hider
from relgnn.text.labels import decide, labelled
from relgnn.text.pretraining_run import adapted
from relgnn.text.retune import add_data
from relgnn.text.rows import Marker, Rows
from relgnn.training import CHECKPOINT, load_json, load_tensors, restore_module


@dataclass(frozen=True)
class Reader:
    """A tuned classifier with what turns sentences into its input.

    Args:
        marker: makes rows.
        model: reads them.
        data: what it was tuned on.
        runtime: where and how precisely it reads.
        subtract: share of the logits that the entities' names alone have, which is taken away.
        calibrator: of a finished run.
    """

    marker: Marker
    model: RelationClassifier | Ensemble
    data: RelationData
    runtime: Runtime
    subtract: float = 0.0
    calibrator: LabelCalibrator | None = None

    @property
    def members(self) -> list[RelationClassifier]:
        """The classifiers that are trained, each on its own."""
        if isinstance(self.model, RelationClassifier):
            return [self.model]
        return [one for one in self.model.members if isinstance(one, RelationClassifier)]

    def rows(self, examples: Sequence[Example]) -> tuple[Rows, Tensor]:
        """What is learned of examples: rows and their labels, see `labelled`."""
        index, labels = labelled(examples, len(self.data.labels), self.model.settings.multi_label)
        return self.marker.rows([examples[i] for i in index]), labels

    def read(self, rows: Rows) -> np.ndarray:
        """[len(rows), labels], float32, before anything is taken away."""
        return logits_of(self.model, rows, self.runtime.autocast)

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """[len(examples), labels], float32."""
        rows = self.marker.rows(examples)
        logits = self.read(rows)
        if self.subtract == 0:
            return logits
        names = self.read(Hider(self.marker).entities(rows))
        return debiased(logits, names, self.subtract)

    def probabilities(self, examples: Sequence[Example]) -> np.ndarray:
        """P(label | sentence, head, tail) [len(examples), labels], calibrated in a finished run."""
        logits = self.logits(examples)
        return np.exp(
            log_softmax(logits, 1) if self.calibrator is None else self.calibrator(logits)
        )

    def decided(
        self, examples: Sequence[Example], logits: np.ndarray
    ) -> tuple[list[Example], np.ndarray, np.ndarray]:
        """Rows, what they state, and what logits [len(examples), labels] decide they state."""
        multi, negative = self.model.settings.multi_label, self.data.negative
        index, truth = labelled(examples, len(self.data.labels), multi)
        return [examples[i] for i in index], truth.numpy(), decide(logits[index], multi, negative)

    def f1(self, examples: Sequence[Example], logits: np.ndarray) -> dict[str, float]:
        """macro_f1 and micro_f1 of what logits [len(examples), labels] decide."""
        _, truth, predicted = self.decided(examples, logits)
        return f1_scores(truth, predicted, self.data.positive, self.data.families)

    def without_bias(self, valid: Sequence[Example]) -> Reader:
        """The same reader, which takes away as much of the names' own logits as is configured."""
        settings = self.model.settings
        if settings.debias is None:
            return self
        if settings.debias.subtract != "valid":
            return replace(self, subtract=settings.debias.subtract)
        rows = self.marker.rows(valid)
        share = best_share(
            self.read(rows),
            self.read(Hider(self.marker).entities(rows)),
            lambda logits: self.f1(valid, logits)[settings.metric],
        )
        return replace(self, subtract=share)


def load_data(config: RelationConfig | FewShotConfig | GenerativeConfig) -> RelationData:
    """The configuration's data set, cut to its fraction of labels.

    Raises:
        InputError: it is nowhere, or is broken, or has no such fraction.
    """
    data, folder = config.data, folder_of(config.data)
    required = () if isinstance(config, FewShotConfig) else ("train", "test")
    found = read_relations(folder, data.name or folder.name, required)
    if isinstance(config, RelationConfig) and config.data.negatives is not None:
        generator = rng("negatives", config.runtime.seed)
        found = with_negatives(found, folder, config.data.negatives, generator)
    if data.fraction < 1:
        found = few_labels(found, folder, round(100 * data.fraction, 6), data.split_seed)
    for step in config.continued if isinstance(config, RelationConfig) else ():
        found = add_data(found, step)
    return found


def make_reader(config: RelationConfig, data: RelationData, runtime: Runtime) -> Reader:
    """The language model with fresh markers and classifier, as often as the ensemble has members.

    Raises:
        InputError: the model cannot be loaded, has too few positions, or no fast tokenizer.
    """
    extraction = config.extraction
    network, tokenizer = load_model(config.text.model, config.text.device_map)
    require_positions(network, config.text.max_tokens)
    if any(value.is_meta for value in network.parameters()):
        raise InputError(
            "text.device_map leaves weights off the devices that compute, and those cannot be "
            "tuned; place every part on a GPU, or all on cpu"
        )
    types = {kind for one in data.train for kind in (one.head_type, one.tail_type)}
    marker = Marker(tokenizer, extraction.marking, config.text.max_tokens, sorted(types))
    members = []
    for number in range(extraction.ensemble):
        if number:
            network, _ = load_model(config.text.model, config.text.device_map)
        seed = member_seed(runtime.seed, number)
        with drawn_from("relation classifier", seed):
            marker.resize(network)
            model = RelationClassifier(network, len(data.labels), extraction, data.negative)
            if extraction.efficient is not None:
                model.network = attach(network, extraction.efficient, marker.new_tokens)
        members.append(model.place(runtime.device))
    joined = Ensemble(members) if len(members) > 1 else members[0]
    return Reader(marker, joined, data, runtime)


def open_reader(folder: Path, runtime: Runtime | None = None) -> Reader:
    """The tuned classifier of a finished run, with the data that it was tuned on.

    Args:
        folder: of the run.
        runtime: where it computes, under the run's own seed; by default as it did.

    Raises:
        InputError: it is no finished run of this kind, a file is missing or does not fit.
    """
    config = load_run_config(folder / "config.yaml")
    if not isinstance(config, RelationConfig):
        raise InputError(
            f"{folder}: is no run with 'extraction:', whose classifier is opened here; what other "
            "runs measured is in their metrics.json"
        )
    path = folder / CHECKPOINT
    config = as_saved(adapted(with_characters(config, folder), folder))
    # what is frozen and not in the file, such as new markers' embeddings, is drawn as it was then
    where = replace(runtime or Runtime.from_config(config.runtime), seed=config.runtime.seed)
    reader = make_reader(config, load_data(config), where)
    tensors, saved = load_tensors(path)
    restore_module(reader.model, tensors, path, frozen=saved.get("frozen", False))
    reader.model.eval()
    told = load_json(folder / "calibration.json")
    return replace(
        reader, subtract=told.get("subtract", 0.0), calibrator=LabelCalibrator.from_json(told)
    )
