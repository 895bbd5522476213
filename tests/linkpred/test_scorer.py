"""A scorer: the predictor's own scores after its messages, also from a file that is mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.gnn.decoders import DECODERS
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.scorer import Scorer
from relgnn.linkpred.supervision import Supervision
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph

TRIPLES = np.array([[0, 0, 20], [3, 1, 22], [0, 0, 21], [5, 2, 6], [0, 0, 20]])


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


def scorer(graph: KnowledgeGraph, kind: str, memory: bool) -> Scorer:
    config = toy_config(f"decoder.kind={kind}", "decoder.dim=16")
    model = new_predictor(config, RUNTIME, graph, encode_features(graph, HashEncoder()))
    if memory:
        model.remember(8)
    context = Supervision.gold(graph.train).message_graph(graph.num_entities, graph.num_relations)
    found = Scorer.of(model, context)
    with torch.no_grad():
        encoded = model.encode(context)
        for (h, r, t), row in zip(TRIPLES.tolist(), found.log_probabilities(TRIPLES), strict=True):
            asked = torch.tensor([h, t]), torch.tensor([r, r + model.num_relations])
            scores = model.score_tails(encoded, *asked).log_softmax(1)
            expected = [scores[0, t].item(), scores[1, h].item()]
            np.testing.assert_allclose(row, expected, atol=1e-4)
    return found


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("kind", DECODERS)
def test_what_is_mapped_scores_as_what_was_saved(
    graph: KnowledgeGraph, tmp_path: Path, kind: str, memory: bool
) -> None:
    before = scorer(graph, kind, memory)
    before.save(tmp_path / "vectors")
    again = Scorer.mapped(tmp_path / "vectors", toy_config(f"decoder.kind={kind}",
                                                           "decoder.dim=16").decoder)  # fmt: skip
    assert again.num_relations == graph.num_relations == before.num_relations
    np.testing.assert_array_equal(
        again.log_probabilities(TRIPLES), before.log_probabilities(TRIPLES)
    )
    assert not again.decoder.training
    assert again.log_probabilities(TRIPLES[:0]).shape == (0, 2)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_the_file_is_mapped_and_not_copied(graph: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    scorer(graph, "conve", False).save(path)
    found = Scorer.mapped(path, toy_config("decoder.kind=conve", "decoder.dim=16").decoder)
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    for tensor in (found.nodes, found.relations, *found.decoder.parameters()):
        assert any(low <= tensor.data_ptr() < high for low, high in ranges)


def test_what_does_not_fit_is_told(graph: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    scorer(graph, "distmult", False).save(path)
    with pytest.raises(InputError, match="does not hold the vectors of this run; delete it"):
        Scorer.mapped(path, toy_config("decoder.kind=conve", "decoder.dim=16").decoder)
    path.write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        Scorer.mapped(path, toy_config("decoder.kind=distmult").decoder)
