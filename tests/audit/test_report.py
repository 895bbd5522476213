"""The audit and the cards as people get them: all figures are the run's, none is made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from relgnn.audit.cards import DATA, MODEL, write_cards
from relgnn.audit.groups import Grouping, grouping
from relgnn.audit.report import written_report
from relgnn.config import load_config
from relgnn.loop.figures import short
from relgnn.loop.opened import run_config, run_graph
from relgnn.posterior.calibration import calibration_report
from tests.answers import Call, require_one_line


@pytest.fixture(scope="module")
def run(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(own_run, tmp_path_factory.mktemp("audited") / "run"))


def test_an_audit_is_written_and_shown(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relgnn.audit.swap.OFTEN", 1)
    words = ("audit", run, "--group", "lives", "--least", 2, "--swaps", 3)
    shown = call(*words, "--out", tmp_path).out
    assert (tmp_path / "fairness.md").read_text() == shown[:-1]
    assert written_report(run) is None
    told = json.loads(call(*words, "--json").out)
    assert told == written_report(run)
    [part] = told["groupings"]
    assert (part["name"], part["title"]) == ("lives", "lives in") and part["swap"]["persons"] == 3
    large = [one for one in part["groups"] if one["errors"]]
    few = [one for one in part["groups"] if not one["errors"]]
    assert large and few and f"Too few to say: {len(few)} group" in shown
    for one in large:
        row = next(line for line in shown.splitlines() if line.startswith(f"| {one['name']} |"))
        assert f"| {short(one['errors']['mrr'])} |" in row
        assert one["errors"]["gap"]["low"] <= one["errors"]["gap"]["mean"]
    assert short(part["swap"]["moved_control"]) in shown and "drawn with another tail" in shown


def test_usual_groups_that_are_too_small_are_left_out(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Grouping("few", "few", None, {"one": np.array([0])})
    usual = [few]
    monkeypatch.setattr("relgnn.audit.report.usual_groupings", lambda graph: usual)
    words = ("audit", run, "--least", 2, "--swaps", 0, "--out", tmp_path, "--json")
    require_one_line(call(*words), 2, "--group few: no group has 2 members")
    for place in (0, 1):
        usual[:] = [few]
        usual.insert(place, grouping(run_graph(run_config(run), run), "lives"))
        told = json.loads(call(*words).out)
        assert [one["name"] for one in told["groupings"]] == ["lives"]


def test_what_cannot_be_audited_is_told(call: Call, run: Path) -> None:
    require_one_line(call("audit", run), 2, "neither gender, nor citizenship", "--group RELATION")
    require_one_line(call("audit", run, "--group", "born"), 2, "no group has 20 members")
    require_one_line(call("audit", run, "--group", "P21"), 2, "'P21' is not in data")
    require_one_line(call("audit", run / "ledger"), 2, "is no run folder")
    require_one_line(call("audit", run / "ledger", "--cards", run), 2, "is no run folder")


HEADINGS = {
    MODEL: "Model details; Intended use; Factors; Metrics; Evaluation data; Training data; "
    "Quantitative analyses; Ethical considerations; Caveats and recommendations; Configuration",
    DATA: "Motivation; Composition; Collection process; Preprocessing, cleaning, labelling; Uses; "
    "Distribution; Maintenance",
}


def test_the_cards_hold_the_figures_of_the_run(call: Call, run: Path, tmp_path: Path) -> None:
    (run / "audit" / "fairness.json").unlink(missing_ok=True)
    printed = call("audit", run, "--cards", tmp_path).out.split()
    assert printed == [str(tmp_path / MODEL), str(tmp_path / DATA)]
    cards = {name: (tmp_path / name).read_text() for name in (MODEL, DATA)}
    for name, headings in HEADINGS.items():
        found = [line[3:] for line in cards[name].splitlines() if line.startswith("## ")]
        assert found == headings.split("; ")
        assert cards[name].endswith("\n") and "None" not in cards[name] and "{{" not in cards[name]
    metrics = json.loads((run / "metrics.json").read_text())
    for one in ("all", "unseen"):
        mrr = metrics["test"][one]["both"]["realistic"]["mrr"] if one in metrics["test"] else None
        if mrr is not None:
            [row] = [line for line in cards[MODEL].splitlines() if line.startswith(f"| {one} |")]
            assert f"| {short(mrr)} |" in row
    # its loop accepted all of valid
    assert json.loads((run / "calibration.json").read_text())["report"] is None
    assert "too few valid statements that it was not taught" in cards[MODEL]
    assert "Fairness was not audited" in cards[MODEL]
    assert "20 persons" in cards[MODEL] and "The data's folder has no PROVENANCE.txt" in cards[DATA]
    assert "30 entities" in cards[DATA] and "No licence is told" in cards[DATA]


def test_cards_stand_in_place_of_an_audit(call: Call, run: Path, tmp_path: Path) -> None:
    told = json.loads(call("audit", run, "--cards", tmp_path, "--json").out)
    assert told == {"cards": [str(tmp_path / MODEL), str(tmp_path / DATA)]}
    for other in (("--group", "lives"), ("--out", tmp_path)):
        words = ("audit", run, "--cards", tmp_path / "more", *other)
        require_one_line(call(*words), 2, "in place of an audit", "leave --group and --out away")
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("extraction", "told"),
    [
        ({}, "that of round 0.\n"),  # without test triples, or where the loop fell back
        ({"accepted": 0}, "that of round 0. It accepted 0 statements from\n  text.\n"),
        (
            {"accepted": 5, "promised": 0.9, "real": 0.8},
            "5 statements from\n  text, promised to be right at .900; .800 of them are in the data",
        ),
    ],
)
def test_a_card_of_a_loop_tells_what_is_known_of_it(
    run: Path, tmp_path: Path, extraction: dict[str, float], told: str
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"round": 0, "extraction": extraction}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert told in write_cards(folder, tmp_path / "cards")[0].read_text()


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"triples": 1200}, "on 1,200 valid statements that it was not taught, each part by what"),
        ({}, "on the valid part that it was fitted to: ECE"),  # a run of before
    ],
)
def test_a_card_tells_on_what_calibration_was_measured(
    run: Path, tmp_path: Path, kept: dict[str, int], told: str
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    report = calibration_report(np.array([0.2, 0.9]), np.array([0.0, 1.0]))
    made = json.loads((folder / "calibration.json").read_text())
    made = {"calibrator": made["calibrator"], "report": report} | kept
    (folder / "calibration.json").write_text(json.dumps(made))
    card = write_cards(folder, tmp_path / "cards")[0].read_text()
    assert told in card
    assert f"ECE {short(report['ece'])}, Brier {short(report['brier'])}" in card


def test_the_cards_tell_of_the_audit_and_quote_the_provenance(
    call: Call, run: Path, own_config: Path, tmp_path: Path
) -> None:
    assert call("audit", run, "--group", "lives", "--least", 2, "--swaps", 0).status == 0
    provenance = own_config.parent / "data" / "PROVENANCE.txt"
    provenance.write_bytes("LICENCE: nobody's, not Zoë's.\n".encode("latin-1"))
    try:
        model, data = (path.read_text() for path in write_cards(run, tmp_path))
    finally:
        provenance.unlink()
    assert "| lives in | asked about | MRR |" in model and "not audited" not in model
    assert "```text\nLICENCE: nobody's, not Zo\ufffd's.\n```" in data
    assert "PROVENANCE.txt, quoted above" in data


def test_the_provenance_of_data_that_were_moved_is_quoted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    config = load_config(folder / "config.yaml")
    own = config.data.path
    assert own is not None
    moved = Path(shutil.copytree(own, tmp_path / "elsewhere" / own.name))
    (moved / "PROVENANCE.txt").write_text("LICENCE: nobody's.\n")
    data = config.data.model_copy(update={"path": tmp_path / "gone" / own.name})
    (folder / "config.yaml").write_text(config.model_copy(update={"data": data}).to_yaml())
    monkeypatch.setenv("RELGNN_DATA", str(moved.parent))
    card = write_cards(folder, tmp_path / "cards")[1].read_text()
    assert "LICENCE: nobody's." in card


def test_cards_of_a_run_that_is_not_finished_are_refused(run: Path, tmp_path: Path) -> None:
    from relgnn.errors import InputError

    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="the run is not finished"):
        write_cards(folder, tmp_path / "cards")
