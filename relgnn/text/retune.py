"""Going on with a finished run of relation extraction on new labelled sentences."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from relgnn.config import RelationConfig, load_run_config
from relgnn.config.continued import ContinuedConfig
from relgnn.data.mentions import Span
from relgnn.data.relations import Example, RelationData, negatives_clash, read_relations
from relgnn.data.shares import stratified
from relgnn.errors import InputError
from relgnn.ranking.classification import f1_scores
from relgnn.runtime import rng
from relgnn.text.classifier import RelationClassifier
from relgnn.text.encoder import MODEL
from relgnn.text.labels import decide, labelled
from relgnn.training import CHECKPOINT, atomic_file, load_json

if TYPE_CHECKING:
    from relgnn.text.reader import Reader

SLOWER = 3
"""What the rates of a run are divided by when it is first continued."""
VALID_SHARE = 0.1
"""Share of the new training sentences that selects where there is no valid file."""
FILES = (
    "config.yaml", "vocab/relations.tsv", "calibration.json", "metrics.json", "environment.json",
    CHECKPOINT,
)  # fmt: skip
"""What one run folder takes over from another."""

Figures = dict[str, dict[str, float]]


def continued_config(
    run: Path, data: Path, replay: float, tolerance: float, overrides: Sequence[str] = ()
) -> RelationConfig:
    """The configuration that goes on with `run` on the new sentences in `data`.

    Rates are a third of the run's own the first time, and no part of valid is trained on, because
    valid decides whether the result is accepted.

    Args:
        run: folder of a finished run of relation extraction.
        data: folder of marked sentences; valid and test may be missing.
        replay: share of the old training sentences that joins.
        tolerance: see `ContinuedConfig`.
        overrides: `key.sub=value` changes of the run's own configuration.

    Raises:
        InputError: it is no such run, or an override changes what has been learnt.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: is no run folder (it has no config.yaml); check the path")
    old = load_run_config(path)
    if not isinstance(old, RelationConfig):
        raise InputError(f"{run}: is no run of relation extraction, expected one to continue")
    if not (run / "metrics.json").is_file():
        raise InputError(f"{run}: has not ended; end it first with `relgnn run --resume {run}`")
    extraction = old.extraction
    slower = 1 if old.continued else SLOWER
    rates = [
        f"extraction.{name}={getattr(extraction, name) / slower}" for name in ("lr", "head_lr")
    ]
    found = load_run_config(path, [*rates, "extraction.refit=false", "semi=null", *overrides])
    assert isinstance(found, RelationConfig)
    kept = all(getattr(found, x) == getattr(old, x) for x in ("data", "text", "pretraining"))
    if not kept or found.extraction.refit or found.semi is not None:
        raise InputError(
            "a continued run keeps its data, text and pre-training, and neither refits nor labels "
            "sentences itself (semi); leave these changes away"
        )
    # its own seed, so that what was held out stays so under another one
    step = ContinuedConfig(
        run=run.resolve(), data=data.resolve(), replay=replay, tolerance=tolerance,
        seed=found.runtime.seed,
    )  # fmt: skip
    return found.model_copy(
        update={"continued": [*old.continued, step], "source": None, "expected": {}, "budget": None}
    )


def add_data(old: RelationData, step: ContinuedConfig) -> RelationData:
    """The data of a continued run: valid and test of both, new and replayed sentences to train on.

    Labels are the union, the old ones first. A sentence that any valid or test set holds is not
    trained on.

    Args:
        old: data of the run that is continued.
        step: how.
    """
    new = new_data(old, step)
    kept = replayed(old.train, step.replay, rng("replay", step.seed))
    held_out = {_key(one) for part in (old, new) for one in (*part.valid, *part.test)}
    train = tuple(one for one in (*kept, *new.train) if _key(one) not in held_out)
    return replace(
        new, name=old.name, train=train, valid=(*old.valid, *new.valid),
        test=(*old.test, *new.test), unlabelled=old.unlabelled,
    )  # fmt: skip


def new_data(old: RelationData, step: ContinuedConfig) -> RelationData:
    """The new sentences alone, under the union of labels.

    Raises:
        InputError: the folder is broken, or says by another label that no relation holds.
    """
    new = read_relations(step.data, required=("train",), known=old.labels)
    if not new.valid:
        valid, train = stratified(new.train, VALID_SHARE, rng("new valid", step.seed))
        new = replace(new, train=train, valid=valid)
    fresh = [i for i, label in enumerate(new.labels) if label not in old.labels]
    labels = (*old.labels, *(new.labels[i] for i in fresh))
    if told := negatives_clash(labels):
        raise InputError(f"{step.data}: beside the old labels, {told}")
    number = [labels.index(label) for label in new.labels]
    parts = {
        split: tuple(one._replace(relation=number[one.relation]) for one in getattr(new, split))
        for split in ("train", "valid", "test")
    }
    return RelationData(
        new.name, labels, (*old.label_names, *(new.label_names[i] for i in fresh)),
        (*old.descriptions, *(new.descriptions[i] for i in fresh)), **parts,
    )  # fmt: skip


def replayed(
    train: Sequence[Example], share: float, generator: np.random.Generator
) -> tuple[Example, ...]:
    """A share of every relation's sentences, to be learnt again (Robins, 1995)."""
    if share in (0, 1):
        return tuple(train) if share else ()
    return stratified(train, share, generator)[0]


def _key(one: Example) -> tuple[str, Span, Span]:
    return one.text, one.head, one.tail


def take_model(run: Path, folder: Path) -> None:
    """Copy a run's own language model, where it has one, so that a folder stands alone."""
    if (run / MODEL).is_dir():
        shutil.copytree(run / MODEL, folder / MODEL, dirs_exist_ok=True)


def carry_over(old: Reader, new: Reader) -> None:
    """Start `new`, which may know more labels and entity types, from what `old` has learnt.

    Outputs of new labels and embeddings of new markers stay as drawn.

    Raises:
        InputError: the models differ in something else.
    """
    if len(old.members) != len(new.members):
        raise InputError(
            f"the run is an ensemble of {len(old.members)}: leave extraction.ensemble as it is"
        )
    ids, old_ids = (x.marker.tokenizer.get_vocab() for x in (new, old))
    tokens = [(ids[token], old_ids[token]) for token in ids if token in old_ids]
    for one, other in zip(old.members, new.members, strict=True):
        _carry_over(one, other, tokens)


@torch.no_grad()
def _carry_over(
    old: RelationClassifier, new: RelationClassifier, tokens: Sequence[tuple[int, int]]
) -> None:
    """`tokens` are (new id, old id) of what both vocabularies have."""
    outputs = [(i, i) for i in range(old.outputs)]
    has_place = new.negative is not None or len(new.head.weight) > new.outputs
    if len(old.head.weight) > old.outputs and has_place:
        # its threshold, which "no relation" is from now on
        outputs.append((new.outputs if new.negative is None else new.negative, old.outputs))
    table = getattr(new.network.get_input_embeddings(), "weight", None)
    rows = {name: tokens for name, p in new.named_parameters() if p is table}
    rows |= {"head.weight": outputs, "head.bias": outputs}
    given, kept = old.state_dict(), new.state_dict()
    lost = next((n for n in given if n.startswith("network.") and n not in kept), None)
    if lost is not None:
        raise InputError(
            f"the run's {lost} has no place in the model; a continued run keeps what was tuned: "
            "leave extraction.efficient as it was"
        )
    for name, value in kept.items():
        source = given.get(name)
        if source is not None and name in rows:
            to, of = torch.tensor(rows[name]).T
            value[to.to(value.device)] = source[of.to(source.device)].to(value.device)
        elif source is not None and source.shape == value.shape:
            value.copy_(source)
        else:
            raise InputError(
                f"the run's {name} does not fit the model; a continued run keeps marking, pooling "
                "and whatever else shapes the model, but of merged adapters "
                "extraction.efficient=null"
            )


def compare(
    old: Reader, new: Reader, fresh: RelationData, metric: str, tolerance: float
) -> dict[str, Any]:
    """What the continued run has won and lost.

    Each set is scored over the relations that its own data hold, both valid sets together over all.

    Args:
        old, new: the model before and after.
        fresh: the new sentences, see `new_data`.
        metric: decides.
        tolerance: see `ContinuedConfig`.

    Returns:
        accepted, worse (the figure that got worse, or None), and F1 before and after by set.
    """
    sets = {
        f"{name}_{split}": (getattr(data, split), _relations(data))
        for name, data in (("old", old.data), ("new", fresh))
        for split in ("valid", "test")
    }
    for split in ("valid", "test"):
        both = (*getattr(old.data, split), *getattr(fresh, split))
        sets[split] = both, set(new.data.positive)
    before, after = (
        {
            name: _score(reader, examples, sorted(relations), new.data)
            for name, (examples, relations) in sets.items()
            if examples and relations
        }
        for reader in (old, new)
    )
    worse = what_got_worse(before, after, metric, tolerance)
    return {"accepted": worse is None, "worse": worse, "before": before, "after": after}


def what_got_worse(before: Figures, after: Figures, metric: str, tolerance: float) -> str | None:
    """The figure that keeps a continued run from being accepted; None where none does."""
    for part, words, slack in (
        ("valid", "both valid sets together", 0.0), ("old_valid", "the old valid set", tolerance),
    ):  # fmt: skip
        was, now = before[part][metric], after[part][metric]
        if now < was - slack:
            return f"{metric} on {words} fell from {was:.3f} to {now:.3f}"
    return None


def _relations(data: RelationData) -> set[int]:
    found = {one.relation for one in (*data.train, *data.valid, *data.test)}
    return found & set(data.positive)


def _score(
    reader: Reader, examples: Sequence[Example], relations: Sequence[int], data: RelationData
) -> dict[str, float]:
    logits = reader.logits(examples)
    # of what the old model does not know, it is sure that it does not hold
    unknown = len(data.labels) - logits.shape[1]
    logits = np.pad(logits, ((0, 0), (0, unknown)), constant_values=-np.inf)
    multi = reader.model.settings.multi_label
    index, truth = labelled(examples, len(data.labels), multi)
    decided = decide(logits[index], multi, reader.data.negative)
    return f1_scores(truth.numpy(), decided, relations, data.families)


def replace_run(folder: Path) -> Path:
    """Put a continued run in the place of the one that it went on with, if it was accepted.

    Each file is replaced in one move, and what was there stays as `checkpoint.previous.safetensors`
    and so on. After a crash the same call completes it.

    Args:
        folder: of the continued run.

    Returns:
        the folder whose files were replaced.

    Raises:
        InputError: the run is no continued one, or was not accepted.
    """
    config = load_run_config(folder / "config.yaml")
    metrics: Mapping[str, Any] = load_json(folder / "metrics.json")
    if not isinstance(config, RelationConfig) or "continued" not in metrics:
        raise InputError(f"{folder}: is no continued run; leave --replace away")
    old = config.continued[-1].run
    if not metrics["continued"]["accepted"]:
        raise InputError(
            f"{old}: keeps its checkpoint, because {metrics['continued']['worse']} in {folder}; "
            "raise --replay or --tolerance, or lower extraction.lr"
        )
    # The configuration is the first to be replaced, so that what is there was kept before.
    if (old / FILES[0]).read_bytes() != (folder / FILES[0]).read_bytes():
        for name in FILES:
            path = old / name
            _copy(path, path.with_name(f"{path.stem}.previous{path.suffix}"))
    for name in FILES:
        _copy(folder / name, old / name)
    return old


def _copy(source: Path, target: Path) -> None:
    with atomic_file(target) as beside:
        shutil.copyfile(source, beside)
