"""Rewritten sentences of a run: what its configuration adds to train, and attacks at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from relgnn.config import RelationConfig
from relgnn.config.augmentation import AttackConfig, AugmentationConfig
from relgnn.data.relations import Example, RelationData, as_entry, example
from relgnn.runtime import Runtime, rng
from relgnn.text.attack import Attack, Misleading, Read, attack_report
from relgnn.text.augment import (
    Augmenter,
    BackTranslation,
    Distractors,
    EntitySwap,
    Neighbours,
    Paraphrase,
    Synonyms,
    WordNet,
)
from relgnn.text.encoder import load_model
from relgnn.text.generation import load_writer
from relgnn.training import save_json_lines

ADVERSARIAL = "adversarial"


def augmented(
    config: RelationConfig,
    data: RelationData,
    part: str,
    runtime: Runtime,
    folder: Path,
    resume: bool,
) -> list[Example]:
    """Rewrites of a part of the data by every kind that needs no trained classifier.

    Args:
        config: of the run; without `augmentation:` there are none.
        data: whose training mentions are swapped in.
        part: "train" or "valid".
        runtime: of the draws and the models' device.
        folder: of the run: they are written there, `augmented_<part>.jsonl`, as data are.
        resume: take what an interrupted run wrote there.

    Raises:
        InputError: a model or WordNet cannot be read.
    """
    settings = config.augmentation
    kinds = [kind for kind in settings.kinds if kind != ADVERSARIAL] if settings else []
    if settings is None or not kinds:
        return []

    def made() -> Iterable[tuple[str, Example]]:
        for kind in kinds:
            augmenter = make_augmenter(kind, settings, config.text.model, data.train, runtime)
            generator = runtime.rng(f"augmentation/{kind}/{part}")
            for one in copies(augmenter, getattr(data, part), settings.copies, generator):
                yield kind, one

    return _kept(made, folder / f"augmented_{part}.jsonl", data.labels, resume)


def hardens(config: RelationConfig) -> bool:
    """Whether a first model is tuned, to learn from what misleads it."""
    return config.augmentation is not None and ADVERSARIAL in config.augmentation.kinds


def misleading(
    config: RelationConfig,
    data: RelationData,
    read: Read,
    runtime: Runtime,
    folder: Path,
    resume: bool,
) -> list[Example]:
    """Rewrites of training sentences that mislead the classifier `read`; see `augmented`."""
    attack = make_attack(config, data, read)

    def made() -> Iterable[tuple[str, Example]]:
        for kind in attack.settings.kinds:
            generator = runtime.rng(f"augmentation/{ADVERSARIAL}/{kind}")
            for one in Misleading(attack, kind).augment(data.train, generator):
                yield f"{ADVERSARIAL}/{kind}", one

    return _kept(made, folder / "adversarial.jsonl", data.labels, resume)


def attack_metrics(
    config: RelationConfig, data: RelationData, judged: Sequence[Read], folder: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """The report on the first of `judged`, and the rates of all that stand in a table.

    Args:
        config: of the run.
        data: whose test sentences are attacked.
        judged: the run's classifier, and the first one where it was hardened.
        folder: of the run; `attack.jsonl` gets what misleads its classifier.
    """
    report = attacked(config, data, judged[0], path=folder / "attack.jsonl")
    columns = {"attack_rate": report["attack_rate"]}
    for weak in judged[1:]:
        columns["attack_rate_before"] = attacked(config, data, weak)["attack_rate"]
    return report, columns


def attacked(
    config: RelationConfig,
    data: RelationData,
    read: Read,
    split: str = "test",
    limit: int | None = None,
    path: Path | None = None,
) -> dict[str, float]:
    """How often rewrites of a fixed sample of sentences mislead a classifier.

    Args:
        config: of its run.
        data: the sentences.
        read: the classifier.
        split: the part that is attacked.
        limit: sentences of the sample; by default as configured.
        path: where misleading rewrites are written, one JSON object a line.

    Returns:
        See `attack_report`.
    """
    attack = make_attack(config, data, read)
    whole = getattr(data, split)
    # the same sentences for every run, whatever its seed
    order = rng("attacked sentences", 0).permutation(len(whole))
    sample = [whole[i] for i in order[: limit or attack.settings.sentences]]
    report, flips = attack_report(attack, sample, rng("attack", 0))
    if path is not None:
        save_json_lines(path, (
            {
                "kind": flip.kind, "edits": flip.edits, "said": data.labels[flip.said],
                "before": as_entry(flip.before, data.labels),
                "after": as_entry(flip.after, data.labels),
            }
            for flip in flips
        ))  # fmt: skip
    return report


def make_attack(config: RelationConfig, data: RelationData, read: Read) -> Attack:
    """The attack that a run is measured by, and hardened against.

    Its synonyms are those of the language model as it was before any training.
    """
    settings = config.attack or AttackConfig()
    lexicon = Neighbours(
        *load_model(config.text.model), settings.neighbours, settings.min_similarity
    )
    return Attack(read, lexicon, EntitySwap(data.train), settings)


def make_augmenter(
    kind: str, settings: AugmentationConfig, model: str, train: Sequence[Example], runtime: Runtime
) -> Augmenter:
    """The augmenter of one kind.

    Args:
        kind: any but "adversarial".
        settings: of all kinds.
        model: the language model, whose embeddings tell synonyms.
        train: training sentences.
        runtime: whose device writing models run on.

    Raises:
        InputError: a model or WordNet cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if kind == "synonyms":
        return Synonyms(
            Neighbours(*load_model(model), settings.neighbours, settings.min_similarity),
            settings.share,
        )
    if kind == "wordnet":
        assert settings.wordnet is not None
        return Synonyms(WordNet(settings.wordnet, settings.neighbours), settings.share)
    if kind == "entity_swap":
        return EntitySwap(train)
    if kind == "distractors":
        return Distractors()
    if kind == "back_translation":
        assert settings.translation is not None
        there, back = (
            load_writer(name, AutoModelForSeq2SeqLM, "augmentation.translation", runtime.device)
            for name in settings.translation
        )
        return BackTranslation(there, back)
    writer = load_writer(
        settings.paraphraser, AutoModelForCausalLM, "augmentation.paraphraser", runtime.device
    )
    if runtime.precision == "bf16":
        writer[0].to(torch.bfloat16)
    return Paraphrase(writer, settings.prompt)


def copies(
    augmenter: Augmenter, examples: Sequence[Example], count: int, generator: np.random.Generator
) -> list[Example]:
    """Up to `count` different rewrites of each example."""
    found = [one for _ in range(count) for one in augmenter.augment(examples, generator)]
    return list(dict.fromkeys(found))


def _kept(
    make: Callable[[], Iterable[tuple[str, Example]]],
    path: Path,
    labels: Sequence[str],
    resume: bool,
) -> list[Example]:
    """What an interrupted run wrote in `path`, else what is made now and written there."""
    if not (resume and path.exists()):
        save_json_lines(path, ({"kind": kind, **as_entry(one, labels)} for kind, one in make()))
    number = {label: i for i, label in enumerate(labels)}
    lines = path.read_text(encoding="utf-8").split("\n")
    return [example(json.loads(line), number) for line in lines if line]
