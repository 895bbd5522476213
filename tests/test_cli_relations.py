"""The command line on marked sentences: tuning, labelling, going on, and preparing them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from relgnn.data.relations import Example
from relgnn.posterior.softmax import LabelCalibrator
from relgnn.text.reader import open_reader
from relgnn.training import load_json
from tests.answers import Call, require_one_line
from tests.conftest import ROOT
from tests.experiments.tiny import write_tiny_relations
from tests.own import append


@pytest.mark.parametrize(
    "row", ["re_conll04/joint", "re_redocred/zero_shot", "re_fewrel/five_shot"]
)
@pytest.mark.parametrize("more", [(), ("--head", "Ada", "--tail", "Bonn")])
def test_a_run_that_reads_no_single_text_says_so(
    row: str, more: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    shutil.copy(ROOT / f"experiments/configs/{row}.yaml", tmp_path / "config.yaml")
    answer = call("extract", tmp_path, "Ada was born in Bonn.", *more)
    require_one_line(answer, 2, "relation extraction that reads no single text; give one whose")


def test_relation_extraction(call: Call, tmp_path: Path, tiny_bert: str) -> None:
    data, run = write_tiny_relations(tmp_path / "tiny"), tmp_path / "run"
    assert call("data", "check", data).out.startswith(f"{data}: can be loaded (24 train sentences")
    config = tmp_path / "re.yaml"
    config.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\n"
        "extraction: {epochs: 2}\n"
    )
    answer = call("run", config, "--out", run, "--quiet")
    assert answer.status == 0
    assert {"macro_f1", "valid", "test"} <= set(answer.out.split())
    again = json.loads(call("evaluate", run, "--json").out)["test"]
    metrics = load_json(run / "metrics.json")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
    assert "test" in call("evaluate", run).out
    rewrites = tmp_path / "rewrites.jsonl"
    attacked = json.loads(call("attack", run, "--limit", 8, "--out", rewrites, "--json").out)
    assert 0 <= attacked["attack_rate"] <= 1 and attacked["attacked"] <= 8
    assert rewrites.exists() and "attack_rate" in call("attack", run, "--limit", 4).out
    require_one_line(call("attack", tmp_path), 2)
    require_one_line(call("evaluate", run, "--typed"), 2, "which ranks nothing", "--typed")
    require_answers(call, run, tmp_path)
    require_one_line(call("run", config, "extraction.epoch=3"), 2, "'extraction.epochs'?")
    require_one_line(call("run", config, "--out", run), 2, "holds a run already")
    resumed = call("run", "--resume", run)
    assert resumed.status == 0 and "finished already" in resumed.err
    few = tmp_path / "few.yaml"
    few.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\n"
        "few_shot: {ways: 3, queries: 2, episodes: 5}\n"
    )
    assert "accuracy" in call("run", few, "--out", tmp_path / "few").out
    require_one_line(call("evaluate", tmp_path / "few"), 2)


def require_answers(call: Call, run: Path, folder: Path) -> None:
    """`extract` labels pairs of mentions by name and from a file, and says what is wrong."""
    text = "Ada was born in Bonn."
    words = ("extract", run, text, "--head", "Ada")
    [one] = json.loads(call(*words, "--tail", "Bonn", "--json").out)
    assert (one["head_span"], one["tail_span"]) == ([0, 3], [16, 20])
    p = [answer["probability"] for answer in one["answers"]]
    assert p == sorted(p, reverse=True) and sum(p) == pytest.approx(1)
    assert {answer["label"] for answer in one["answers"]} == {"born", "lives", "Other"}
    logits = open_reader(run).logits([Example(text, (0, 3), (16, 20), -1)])
    calibrator = LabelCalibrator.from_json(load_json(run / "calibration.json"))
    expected = np.exp(calibrator(logits))[0]
    assert p == pytest.approx(np.sort(expected)[::-1], abs=1e-5)
    printed = call(*words, "--tail", "Bonn", "-k", 1).out
    assert printed.startswith(f"Ada → Bonn  “{text}”") and printed.count("\n") == 2
    file = folder / "pairs.jsonl"
    file.write_text(f'{{"text": "{text}", "head": "Ada", "tail": {{"span": [16, 20]}}}}\n' * 2)
    both = json.loads(call("extract", run, "--file", file, "--json").out)
    assert [answer["label"] for answer in both[1]["answers"]] == [
        x["label"] for x in one["answers"]
    ]
    assert [x["tail_span"] for x in both] == [[16, 20]] * 2
    require_one_line(call(*words), 2, "--head and --tail")
    require_one_line(call(*words, "--tail", "Cork"), 2, "does not name the tail 'Cork'")
    require_one_line(call(*words, "--tail", "Bonn", "--about", "Ada"), 2, "leave --about")
    require_one_line(call("extract", run), 2, "give a TEXT, or --file")
    require_one_line(call("extract", run, "--file", folder / "none.jsonl"), 2, "no such file")
    file.write_text('{"text": "Ada"}\n{}\n')
    require_one_line(call("extract", run, "--file", file), 2, "pairs.jsonl:1: expected tokens")
    file.write_text("")
    require_one_line(call("extract", run, "--file", file), 2, "is empty; give text, head and tail")


BROKEN_RELATIONS = {
    "span": (lambda d: append(d / "train.jsonl", spoiled(d, head={"span": [0, 99]})),
             "train.jsonl:25: head span [0, 99) is outside of the 6 tokens"),
    "tokens": (lambda d: append(d / "valid.jsonl", spoiled(d, tokens=[])),
               "valid.jsonl:25: the list of tokens is empty"),
    "label": (lambda d: append(d / "test.jsonl", spoiled(d, relation="eats")),
              "test.jsonl:25: label 'eats' is not in relations.tsv"),
    "test only": (lambda d: (append(d / "relations.tsv", "eats\n"),
                             append(d / "test.jsonl", spoiled(d, relation="eats"))),
                  "test.jsonl: eats occurs here alone"),
    "empty test": (lambda d: (d / "test.jsonl").write_text(""), "0 test sentences; each part"),
    "no folder": (lambda d: shutil.rmtree(d), "no such folder; check the path"),
}  # fmt: skip


def spoiled(data: Path, **changes: object) -> str:
    line = json.loads((data / "train.jsonl").read_text().splitlines()[0])
    return json.dumps(line | changes) + "\n"


@pytest.mark.parametrize("broken", BROKEN_RELATIONS)
def test_broken_marked_sentences(call: Call, tmp_path: Path, tiny_bert: str, broken: str) -> None:
    data = write_tiny_relations(tmp_path / "tiny")
    config = tmp_path / "re.yaml"
    config.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\nextraction: {{}}\n"
    )
    spoil, told = BROKEN_RELATIONS[broken]
    spoil(data)
    require_one_line(call("run", config, "--out", tmp_path / "run"), 2, told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("change", "told"), [
    ("text.model=/nowhere", "text.model: '/nowhere' cannot be loaded"),
    ("text.max_tokens=129", "the model has 128 positions"),
    ("extraction.lr=1e30", "the loss of relation classifier is nan"),
])  # fmt: skip
def test_models_that_cannot_be_tuned(
    call: Call, tmp_path: Path, tiny_bert: str, change: str, told: str
) -> None:
    config = tmp_path / "re.yaml"
    config.write_text(
        f"data: {{path: {write_tiny_relations(tmp_path / 'tiny')}}}\n"
        f"text: {{model: {tiny_bert}, max_tokens: 32}}\nextraction: {{}}\n"
    )
    require_one_line(call("run", config, change, "--out", tmp_path / "run", "--quiet"), 2, told)


def test_a_run_is_continued_on_new_sentences(call: Call, tmp_path: Path, tiny_bert: str) -> None:
    data, run, new = write_tiny_relations(tmp_path / "tiny"), tmp_path / "run", tmp_path / "new"
    config = tmp_path / "re.yaml"
    config.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {tiny_bert}, max_tokens: 32}}\n"
        "extraction: {epochs: 2}\n"
    )
    assert call("run", config, "--out", run, "--quiet").status == 0
    words = ("run", "--continue", run, "--data", data)
    answer = call(*words, "extraction.epochs=1", "--replay", 0, "--out", new, "--tolerance", 1)
    assert answer.status == 0
    assert "Before and after" in answer.out
    assert {"old test", "new test", "valid"} <= {x[:9].strip() for x in answer.out.splitlines()}
    assert load_json(new / "metrics.json")["continued"].keys() == {
        "accepted", "worse", "before", "after",
    }  # fmt: skip
    metrics = load_json(new / "metrics.json")
    for accepted, status in ((False, 2), (True, 0)):
        metrics["continued"] |= {"accepted": accepted, "worse": None if accepted else "F1 fell"}
        (new / "metrics.json").write_text(json.dumps(metrics))
        answer = call("run", "--resume", new, "--replace")
        assert answer.status == status
        assert (run / "checkpoint.previous.safetensors").exists() == accepted
        assert ("not accepted: F1 fell" in answer.out) != accepted
    require_one_line(call("run", "--continue", run), 2, "give --data NEW")
    require_one_line(call("run", "--data", data), 2, "--continue RUN --data NEW")
    require_one_line(call("run", config, "--out", tmp_path / "r", "--data", data), 2, "--continue")
    for word in (["--replace"], ["--replay", 0.1], ["--tolerance", 0.1]):
        told = call("run", config, "--out", tmp_path / "r", *word)
        require_one_line(told, 2, f"{word[0]}: give --continue RUN")
    assert not (tmp_path / "r").exists()
    require_one_line(call(*words, "--resume", run), 2, "no --resume")
    require_one_line(call(*words, "extraction.epoch=1"), 2, "'extraction.epochs'?")
    assert call(*words, "--replay", 2).status == 2


def test_data_prepare_makes_a_folder_that_a_check_accepts(call: Call, tmp_path: Path) -> None:
    source, out = tmp_path / "notes.tsv", tmp_path / "made"
    rows = [f"{x}{i} is in the  Bonn .\t{x}{i}\tBonn\t{x}" for i in range(10) for x in ("a", "b")]
    source.write_text("text\thead\ttail\trelation\n" + "\n".join(rows))
    words = tmp_path / "stop.txt"
    words.write_text("The is\n")
    given = ("data", "prepare", source, "--out", out, "--stop-words", words, "--labels", 50)
    assert call(*given).out == f"{out}: 16 train, 2 valid, 2 test\n"
    assert json.loads((out / "train.jsonl").read_text().splitlines()[0])["text"] == "a0 in Bonn ."
    assert len(json.loads((out / "subsets.json").read_text())) == 3
    answer = call("data", "check", out)
    assert "can be loaded (16 train sentences" in answer.out and "warning" not in answer.out
    assert answer.out.splitlines()[-1].split() == ["b", "8", "1", "1"]
    assert json.loads(call("data", "check", out, "--json").out)["labels"]["a"]["train"] == 8
    require_one_line(call(*given), 2, f"{out}: is there already")
    require_one_line(
        call("data", "prepare", tmp_path / "no", "--out", tmp_path / "o"), 2, "no such"
    )
    other = ("data", "prepare", source, "--out", tmp_path / "other")
    require_one_line(call(*other, "--stop-words", tmp_path / "no"), 2, "a stop word a line")
    require_one_line(call(*other, "--negatives", 1), 2, "needs all mentions of a sentence")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "notes.tsv", "stop.txt"]
    answer = call(*other, "--json")
    assert json.loads(answer.out)["sentences"] == {"train": 16, "valid": 2, "test": 2}
