"""A search never sees test, goes on where it stopped, and says what mattered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from relgnn import search
from relgnn.cli import main
from relgnn.config import load_run_config
from relgnn.errors import Diverged, InputError
from relgnn.search import Choice, Range, read_space
from relgnn.training import EpochRecord, Interrupted
from tests.conftest import ROOT
from tests.own import write_data
from tests.text.test_relation_run import config, data  # noqa: F401

optuna = pytest.importorskip("optuna")

SPACE = {
    "extraction.lr": Range(1e-5, 1e-1, log=True),
    "extraction.batch_size": Choice((8, 16)),
    "extraction.layers": Choice((None, 1)),
}
CONFIG = ROOT / "experiments/configs/re_semeval2010/tuned_10.yaml"


class FakeRuns:
    """Runs that take no time: the metric is how near the learning rate is to 1e-3."""

    def __init__(
        self,
        stop_at: int | None = None,
        fail_at: int | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.stop_at, self.fail_at, self.failure = stop_at, fail_at, failure
        self.rates, self.epochs = [], []

    def __call__(self, config: Any, folder: Path, **options: Any) -> dict[str, Any]:
        assert options["test"] is False
        if len(self.rates) == self.stop_at:
            raise Interrupted("stopped")
        self.rates.append(config.extraction.lr)
        if len(self.rates) == self.fail_at:
            assert self.failure is not None
            raise self.failure
        value = 1 - abs(1e-3 - config.extraction.lr)
        self.epochs.append(0)
        for epoch in range(1, 4):
            self.epochs[-1] = epoch
            valid = {"macro_f1": value * epoch / 3}
            options["observe"]("relation classifier", EpochRecord(epoch, 0.0, 0.0, valid, 0.0))
        return {"valid": {"macro_f1": value}}


def fake(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeRuns:
    runs = FakeRuns(**options)
    monkeypatch.setattr(search, "run_relations", runs)
    monkeypatch.setattr(search, "load_data", lambda config: None)
    return runs


def test_an_interrupted_search_goes_on_to_the_same_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fake(monkeypatch)
    expected = search.search(CONFIG, (), SPACE, 6, tmp_path / "whole")
    first = fake(monkeypatch, stop_at=3)
    with pytest.raises(Interrupted, match="same command goes on"):
        search.search(CONFIG, (), SPACE, 6, tmp_path / "part")
    rest = fake(monkeypatch)
    found = search.search(CONFIG, (), SPACE, 6, tmp_path / "part")
    assert first.rates + rest.rates == whole.rates
    assert found["best"]["macro_f1"] == expected["best"]["macro_f1"]
    assert found["best"]["parameters"] == expected["best"]["parameters"]
    assert len(whole.rates) == len(set(whole.rates)) == 6
    nothing = fake(monkeypatch)
    search.search(CONFIG, (), SPACE, 6, tmp_path / "part")
    assert nothing.rates == []


def test_it_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = fake(monkeypatch, fail_at=2, failure=Diverged("the loss is nan"))
    said: list[str] = []
    found = search.search(CONFIG, (), SPACE, 14, tmp_path, say=said.append)
    assert "given up" in said[1]
    # bad ones end early, once there are some to compare with
    assert min(runs.epochs) < 3 and max(runs.epochs) == 3
    best = load_run_config(tmp_path / "best.yaml")
    assert best.extraction.lr == min(runs.rates, key=lambda rate: abs(rate - 1e-3))
    changed = best.extraction.model_dump().keys() - {"lr", "batch_size", "layers"}
    base = load_run_config(CONFIG).extraction.model_dump()
    assert {key: best.extraction.model_dump()[key] for key in changed} == {
        key: base[key] for key in changed
    }
    header, *lines = (tmp_path / "trials.tsv").read_text().splitlines()
    assert header.split("\t")[:4] == ["trial", "state", "macro_f1", "seconds"]
    assert [line.split("\t")[1] for line in lines].count("pruned") >= 1 and len(lines) == 14
    assert found["importance"].keys() == SPACE.keys()
    assert sum(found["importance"].values()) == pytest.approx(1)
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_another_search_is_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch)
    search.search(CONFIG, (), SPACE, 2, tmp_path)
    other = {**SPACE, "extraction.lr": Range(1e-5, 1e-2, log=True)}
    for changes, space in (((), other), (("extraction.epochs=3",), SPACE)):
        with pytest.raises(InputError, match="another configuration or space; give another --out"):
            search.search(CONFIG, changes, space, 2, tmp_path)


def test_a_value_that_the_model_refuses_ends_its_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = InputError("extraction.layers is 12: the model has 6; set it to 6 or less")
    for first_or_later in (1, 2):
        runs, said = fake(monkeypatch, fail_at=first_or_later, failure=told), []
        found = search.search(CONFIG, (), SPACE, 4, tmp_path / str(first_or_later), say=said.append)
        assert found["best"] and any("the model has 6" in one for one in said)
        assert len(set(runs.rates)) == len(said) == found["trials"] == 4
    fake(monkeypatch, fail_at=1, failure=told)
    with pytest.raises(InputError, match="the model has 6"):
        search.search(CONFIG, (), SPACE, 1, tmp_path / "none")


def test_what_no_trial_can_do_without_is_told_before_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(f"data: {{path: {tmp_path / 'nowhere'}}}\nloop: null\n")
    space = {"train.lr": Range(1e-3, 1e-2, log=True)}
    with pytest.raises(InputError, match="nowhere: no such folder"):
        search.search(config, (), space, 3, tmp_path / "out")
    (write_data(tmp_path / "nowhere") / "valid.tsv").write_text("")
    with pytest.raises(InputError, match="no valid triples"):
        search.search(config, (), space, 3, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "failure", [Diverged("nan"), MemoryError(), RuntimeError("CUDA out of memory. Tried to …")]
)
def test_where_nothing_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    fake(monkeypatch, fail_at=1, failure=failure)
    with pytest.raises(InputError, match="none of 1 trials came to an end"):
        search.search(CONFIG, (), SPACE, 1, tmp_path)
    fake(monkeypatch, fail_at=1, failure=RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        search.search(CONFIG, (), SPACE, 2, tmp_path)


def test_the_command_searches_a_real_run(
    data: Path,  # noqa: F811
    tiny_bert: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config(data, tiny_bert)
    path = tmp_path / "space.yaml"
    path.write_text("extraction.lr: {low: 1e-4, high: 1e-2, log: true}\nextraction.first: [true]\n")
    out = tmp_path / "found"
    command = ["search", str(tmp_path / "toy.yaml"), "extraction.epochs=1", "--space", str(path)]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--trials", "2", "--out", str(out)])
    assert caught.value.code == 0
    assert "best.yaml" in capsys.readouterr().out
    trial = yaml.safe_load((out / "trials" / "0000" / "metrics.json").read_text())
    assert "valid" in trial and "test" not in trial
    assert load_run_config(out / "best.yaml").extraction.epochs == 1


@pytest.mark.parametrize(("text", "told"), [
    ("extraction.lr: {low: 1, high: 0.1}", "low < high"),
    ("extraction.lr: {low: 0, high: 0.1, log: true}", "low < high"),
    ("extraction.lr: {low: 0.1, hihg: 1}", "expected a list"),
    ("extraction.lr: []", "expected a list"),
    ("extraction.lr: 1e-3", "expected a list"),
    ("- 3", "expected keys"),
])  # fmt: skip
def test_a_broken_space(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_space(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value", "told"), [
    ("extraction.lrr", Range(0.1, 1.0), "did you mean 'extraction.lr'"),
    ("extraction.dropout", Range(0.1, 1.0), "less than 1"),
    ("extraction.marking", Choice(("special", "bold")), "bold"),
])  # fmt: skip
def test_a_space_that_the_configuration_refuses(
    key: str, value: Choice | Range, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        search.search(CONFIG, (), {key: value}, 1, tmp_path)
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize("focal", [(2.0, 0.0), (0.0, 2.0)])
def test_values_that_do_not_go_together_are_given_up(
    focal: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {
        "extraction.loss": Choice(("cross_entropy", "threshold")),
        "extraction.focal": Choice(focal),
    }
    runs, said = fake(monkeypatch), []
    found = search.search(CONFIG, (), space, 12, tmp_path, say=said.append)
    refused = [line for line in said if "focal" in line.partition(": ")[2].partition(": ")[2]]
    assert refused and len(refused) + len(runs.rates) == len(said) == found["trials"] == 12
    assert all('loss="threshold" extraction.focal=2.0: ' in line for line in refused)
    states = [line.split("\t")[1] for line in (tmp_path / "trials.tsv").read_text().splitlines()]
    assert states.count("pruned") == len(refused)
    # what was given up has ended: the same call again tries nothing
    again = fake(monkeypatch)
    search.search(CONFIG, (), space, 12, tmp_path)
    assert again.rates == []


def test_integers_stay_integers() -> None:
    trial = optuna.create_study().ask()
    drawn = Range(2, 9).draw(trial, "extraction.epochs")
    assert isinstance(drawn, int) and 2 <= drawn <= 9
    assert isinstance(replace(Range(2, 9), low=2.0).draw(trial, "extraction.lr"), float)


def test_values_that_only_go_with_anothers_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration alone refuses the focal loss, and takes it with one of the losses."""
    fake(monkeypatch)
    space = {
        "extraction.focal": Choice((2.0, 0.0)),
        "extraction.loss": Choice(("threshold", "cross_entropy")),
    }
    search.search(CONFIG, ("extraction.loss=threshold",), space, 3, tmp_path)
    # beside 2 and 1 that loss is refused, and a third value is never drawn
    space["extraction.focal"] = Choice((2.0, 1.0))
    with pytest.raises(InputError, match="neither focal nor label_smoothing"):
        search.search(CONFIG, (), space, 3, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_was_best_is_told_by_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch)
    space = {
        "extraction.batch_size": Choice((8,)), "extraction.layers": Choice((None,)),
        "extraction.marking": Choice(("special",)), "extraction.lr": Range(1e-5, 1e-3, log=True),
    }  # fmt: skip
    told = search.search(CONFIG, (), space, 1, tmp_path)["best"]["parameters"]
    rate = told.pop("extraction.lr")
    assert 1e-5 <= rate <= 1e-3
    assert told == {
        "extraction.batch_size": 8, "extraction.layers": None, "extraction.marking": "special"
    }  # fmt: skip
    written = yaml.safe_load((tmp_path / "search.json").read_text())["best"]["parameters"]
    assert written["extraction.batch_size"] == 8 and written["extraction.layers"] is None
    best = load_run_config(tmp_path / "best.yaml").extraction
    assert (best.batch_size, best.layers, best.marking, best.lr) == (8, None, "special", rate)


def test_a_storage_that_holds_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch)
    other = tmp_path / "notes.db"
    other.write_text("no database " * 100)
    for storage in (other, tmp_path):
        with pytest.raises(InputError, match="not the SQLite file of a search") as caught:
            search.search(CONFIG, (), SPACE, 1, tmp_path / "out", storage)
        assert str(caught.value).startswith(f"{storage}: ") and "\n" not in str(caught.value)
