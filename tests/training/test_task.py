"""The keys that a training which diverges names are those of its own configuration."""

from __future__ import annotations

import inspect

import pytest

from relgnn.config import (
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    DocumentConfig,
    FewShotConfig,
    GenerativeConfig,
    InductiveConfig,
    JointConfig,
    NodeConfig,
    PairConfig,
    RelationConfig,
    RerankConfig,
    RunConfig,
    TripleConfig,
    known_keys,
)
from relgnn.linkpred.biencoder_task import BiEncoderTask
from relgnn.linkpred.coteaching import CoteachingTask
from relgnn.linkpred.crossencoder import CrossEncoderTask
from relgnn.linkpred.given_negatives import GivenNegativesTask
from relgnn.linkpred.inductive import QueryTask
from relgnn.linkpred.memory import MemoryTask
from relgnn.linkpred.nodes import NodeTask
from relgnn.linkpred.pairs import EdgeTask
from relgnn.linkpred.rerank import RerankTask
from relgnn.linkpred.task import LinkPredictionTask
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.document_fit import DocumentTask
from relgnn.text.extractor import ExtractorTask
from relgnn.text.generative_task import AnswerTask
from relgnn.text.joint_run import JointTask
from relgnn.text.metric import MetricTask
from relgnn.text.pairs import PairTask
from relgnn.text.pretraining import PretrainingTask
from relgnn.training import Task

OWN: dict[type[Task], type[RunConfig]] = {
    BiEncoderTask: BiEncoderConfig, CrossEncoderTask: CrossEncoderConfig,
    GivenNegativesTask: TripleConfig, QueryTask: InductiveConfig, MemoryTask: Config,
    NodeTask: NodeConfig, EdgeTask: PairConfig, RerankTask: RerankConfig,
    LinkPredictionTask: Config, ClassifierTask: RelationConfig, DocumentTask: DocumentConfig,
    ExtractorTask: Config, AnswerTask: GenerativeConfig, JointTask: JointConfig,
    MetricTask: FewShotConfig,
}  # fmt: skip
# their keys are those of what they are made of, or they have none
OTHERS = {CoteachingTask, PretrainingTask, PairTask}


@pytest.mark.parametrize("task", OWN, ids=lambda task: task.__name__)
def test_its_rate_keys_are_those_of_its_configuration(task: type[Task]) -> None:
    keys = set(known_keys(OWN[task]))
    section = task.rate_keys[0].rpartition(".")[0]
    clipped = (f"{section}.clip",) if f"{section}.clip" in keys else ()
    assert task.rate_keys == (f"{section}.lr", *clipped) and set(task.rate_keys) <= keys


def test_every_task_is_among_them() -> None:
    known = {*OWN, *OTHERS}
    found = {
        one
        for parent in (Task, *known)
        for one in _below(parent)
        if one.__module__.startswith("relgnn.") and not inspect.isabstract(one)
    }
    assert found == known


def _below(kind: type) -> set[type]:
    return {x for one in kind.__subclasses__() for x in (one, *_below(one))}
