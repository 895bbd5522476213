"""Encodings of marked sentences in two dimensions, before and after tuning.

    python -m experiments.text_map [--sentences N]

Read are test sentences of SemEval-2010 Task 8, drawn once, which nothing was trained on. Their
encodings are what the classifier's first layer reads (`RelationClassifier.encode`): by the language
model that tuning starts from, whose marker tokens are new, and by that of the run `tuned_10` of the
table re_semeval2010 (a tenth of the labels), seed 0, made where it is missing. Each is mapped by
itself, by t-SNE (van der Maaten and Hinton 2008) after PCA, so that places in the two maps have
nothing to do with each other. `neighbours` is told of the encodings, not of the map: how many of
the ten nearest (by cosine) state the same relation. experiments/results/text_map.json holds both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from experiments.command import make_parser, tells_errors
from experiments.commit import at_end, provenance, warn_if_dirty
from experiments.jobs import RUNS, jobs
from experiments.reproduce import made
from experiments.results import RESULTS
from relgnn.config import RelationConfig
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.runtime import rng
from relgnn.text.reader import Reader, make_reader, open_reader
from relgnn.training import save_json

FILE = "text_map.json"
TABLE, ROW, SEED = "re_semeval2010", "tuned_10", 0
SENTENCES, NEAREST, DIMENSIONS = 700, 10, 50
BATCH, DIGITS = 128, 2


def encodings(reader: Reader, examples: Sequence[Example]) -> np.ndarray:
    """What the first member of a classifier reads of examples, float32 [N, parts]."""
    (model, *_), rows = reader.members, reader.marker.rows(examples)
    model.eval()
    with torch.inference_mode(), reader.runtime.autocast():
        parts = [
            model.encode(rows.batch(part, model.device)).float().cpu()
            for part in torch.arange(len(rows)).split(BATCH)
        ]
    return torch.cat(parts).numpy()


def neighbours(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Share of the `NEAREST` others of each vector [N, d], by cosine, that have its label [N]."""
    index = NearestNeighbors(n_neighbors=NEAREST + 1, metric="cosine").fit(vectors)
    found = index.kneighbors(vectors, return_distance=False)
    own = np.arange(len(vectors))[:, None]
    # of several at distance 0, not all rows name themselves first
    others = np.array([row[row != i][:NEAREST] for row, i in zip(found, own, strict=True)])
    return float(np.mean(labels[others] == labels[:, None]))


def placed(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, d] in two dimensions [N, 2]; the same places for the same vectors."""
    reduced = PCA(min(DIMENSIONS, *vectors.shape), random_state=SEED).fit_transform(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    found = TSNE(perplexity=perplexity, random_state=SEED).fit_transform(reduced)
    return np.asarray(found, dtype=float)


def measure(before: Reader, after: Reader, count: int) -> dict[str, Any]:
    """The content of the file, without where it is from.

    Args:
        before, after: the classifier as it was made, and tuned.
        count: test sentences, at most.

    Raises:
        InputError: there are too few for neighbours.
    """
    data = after.data
    if min(count, len(data.test)) <= NEAREST:
        raise InputError(f"{count} sentences of {data.name}: give more than {NEAREST}")
    order = rng("sentences of the map", SEED).permutation(len(data.test))[:count]
    examples = [data.test[place] for place in sorted(order.tolist())]
    families = [data.families[one.relation] for one in examples]
    _, labels = np.unique(families, return_inverse=True)
    told: dict[str, Any] = {"data": data.name, "relations": families}
    for name, reader in (("before", before), ("after", after)):
        vectors = encodings(reader, examples)
        places = placed(vectors).round(DIGITS).tolist()
        told[name] = {"neighbours": neighbours(vectors, labels), "places": places}
    return told


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.text_map", __doc__)
    parser.add_argument("--sentences", type=int, default=SENTENCES, help=str(SENTENCES))
    given = parser.parse_args(arguments)
    warn_if_dirty()
    (job,) = jobs(TABLE, [ROW], [SEED])
    assert isinstance(job.config, RelationConfig)
    folder = made(job, RUNS)
    code, after = provenance(folder), open_reader(folder)
    before = make_reader(job.config, after.data, after.runtime)
    content = measure(before, after, given.sentences)
    command = f"python -m experiments.text_map --sentences {given.sentences}"
    origin = {"command": command, "config_sha256": job.config.sha256(), "seed": SEED}
    save_json(RESULTS / FILE, origin | at_end(code) | content)
    print(RESULTS / FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
