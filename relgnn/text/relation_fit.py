"""The trainings of one run of relation extraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from relgnn.config import RelationConfig
from relgnn.data.relations import Example
from relgnn.runtime import Runtime
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask, make_objectives
from relgnn.text.efficient import allocation
from relgnn.text.ensemble import member_seed
from relgnn.text.labels import labelled
from relgnn.text.reader import Reader
from relgnn.text.self_training import PseudoLabels
from relgnn.training import FitResult, Keeping, Observer, TrainSettings


@dataclass(frozen=True)
class Lessons:
    """What a classifier is trained on.

    Args:
        train: gold sentences.
        valid: those that select; none where all epochs are taken.
        extra: rewritten training sentences, whose loss has a weight of its own.
        pseudo: labels of unlabelled sentences.
    """

    train: Sequence[Example]
    valid: Sequence[Example] = ()
    extra: Sequence[Example] = ()
    pseudo: PseudoLabels | None = None


@dataclass(frozen=True)
class Fitter:
    """Trains the classifiers of a run.

    Args:
        config: of the run.
        runtime: where it trains.
        folder: of the run.
        resume: go on from the states that are there.
        observe: called after every epoch.
    """

    config: RelationConfig
    runtime: Runtime
    folder: Path
    resume: bool = False
    observe: Observer | None = None

    def fit(
        self, reader: Reader, lessons: Lessons, part: str = "", epochs: int | None = None
    ) -> FitResult:
        """Train each member of a reader on its own.

        Args:
            reader: changed in place.
            lessons: what it learns.
            part: names the training where it is not the run's first.
            epochs: in place of the configuration's.

        Returns:
            How it ended; of an ensemble, the mean metric and epoch.
        """
        found = []
        for number, member in enumerate(reader.members):
            own = f"member {number + 1}" if number else ""
            name = ", ".join(filter(None, (part, own)))
            found.append(self._fit(reader, member, number, lessons, name, epochs))
        metrics = [one.best_metric for one in found if one.best_metric is not None]
        return replace(
            found[0],
            best_metric=sum(metrics) / len(metrics) if metrics else None,
            best_epoch=round(sum(one.best_epoch for one in found) / len(found)),
        )

    def _fit(
        self,
        reader: Reader,
        model: RelationClassifier,
        number: int,
        lessons: Lessons,
        part: str,
        epochs: int | None,
    ) -> FitResult:
        task = self._task(reader, model, lessons, epochs or self.config.extraction.epochs)
        if part:
            task.name += f", {part}"
        settings = self.config.extraction
        metric = settings.metric if lessons.valid else None
        told = TrainSettings.of(settings, metric, epochs=epochs or settings.epochs)
        keeping = Keeping.of_run(self.folder, self.resume, self.observe).part(part)
        seed = member_seed(self.runtime.seed, number)
        found = keeping.train(task, told, self.runtime, seed=seed)
        task.keep_average()
        return found

    def _task(
        self, reader: Reader, model: RelationClassifier, lessons: Lessons, epochs: int
    ) -> ClassifierTask:
        config, settings = self.config, self.config.extraction
        given = (*lessons.train, *lessons.extra)
        data = replace(reader.data, train=given)
        objectives = make_objectives(config, model, reader.marker, data)
        if lessons.pseudo is not None and config.semi is not None:
            objectives.append(lessons.pseudo.objective(config.semi, reader.marker))
        rows, labels = reader.rows(given)
        weights = None
        if config.augmentation is not None:
            index, _ = labelled(given, len(data.labels), settings.multi_label)
            own = torch.tensor(index) < len(lessons.train)
            weights = torch.where(own, 1.0, config.augmentation.weight)
        batches = -(-len(rows) // settings.batch_size)
        objectives += allocation(model, epochs * -(-batches // settings.accumulate))
        return ClassifierTask(
            model, rows, labels, reader.rows(lessons.valid) if lessons.valid else None, data,
            settings, objectives, self.runtime.autocast, weights,
        )  # fmt: skip
