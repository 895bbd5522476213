"""An ensemble averages probabilities, and is trained, kept and opened as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from relgnn.config import TuningConfig
from relgnn.text.classifier import RelationClassifier
from relgnn.text.ensemble import Ensemble, member_seed
from relgnn.text.reader import open_reader
from relgnn.text.relation_run import run_relations
from tests.text.test_relation_run import config, data  # noqa: F401


class Fixed(RelationClassifier):
    """Always says the same."""

    def __init__(self, logits: Tensor, settings: TuningConfig) -> None:
        nn.Module.__init__(self)
        self.logits, self.settings = logits, settings

    def forward(self, batch: object, embeddings: Tensor | None = None) -> Tensor:
        return self.logits


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_is_the_mean_of_the_probabilities(multi_label: bool) -> None:
    settings = TuningConfig(loss="bce", multi_label=multi_label)
    each = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)) * 3
    found = Ensemble([Fixed(one, settings) for one in each])(None)  # type: ignore[arg-type]
    if multi_label:
        torch.testing.assert_close(found.sigmoid(), each.sigmoid().mean(0))
    else:
        torch.testing.assert_close(found.exp(), each.softmax(2).mean(0))


def test_seeds_differ_and_the_first_is_the_runs() -> None:
    assert member_seed(7, 0) == 7
    assert len({member_seed(seed, k) for seed in (0, 1) for k in range(3)}) == 6


def test_members_differ_and_the_run_opens_to_the_same_probabilities(
    data: Path,  # noqa: F811
    tiny_bert: str,
    tmp_path: Path,
) -> None:
    settings = config(data, tiny_bert, "extraction.ensemble=2")
    metrics = run_relations(settings, tmp_path / "run")
    reader = open_reader(tmp_path / "run")
    assert isinstance(reader.model, Ensemble)
    rows = reader.marker.rows(reader.data.test)
    each = [replace(reader, model=one).read(rows) for one in reader.members]
    first, second = (torch.from_numpy(logits).softmax(1).numpy() for logits in each)
    assert not np.allclose(first, second)
    both = np.exp(reader.logits(reader.data.test))
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5)
    truth = np.array([one.relation for one in reader.data.test])
    assert metrics["test"]["micro_f1"] == pytest.approx((both.argmax(1) == truth).mean())
    run_relations(config(data, tiny_bert), tmp_path / "alone")
    np.testing.assert_array_equal(open_reader(tmp_path / "alone").read(rows), each[0])
