"""The command line: every command on a user's own folder, and one line for whatever is wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from relgnn import __version__
from relgnn.cli import app, main
from relgnn.commands.console import print_metrics
from relgnn.ranking.metrics import read_ranks
from relgnn.training import Interrupted, load_json
from relgnn.training.progress import _SCREEN
from tests.answers import Call, require_one_line
from tests.conftest import ROOT
from tests.own import append


@pytest.fixture
def data(own_config: Path, tmp_path: Path) -> Path:
    """A copy of the user's own folder, to be broken."""
    return Path(shutil.copytree(own_config.parent / "data", tmp_path / "data"))


BROKEN = {
    "missing file": (
        lambda d: (d / "test.tsv").unlink(), "test.tsv: no such file", "put the test triples there"
    ),
    "column count": (
        lambda d: append(d / "train.tsv", "e0\tborn\n"), "train.tsv:41: found 2 columns, expected 3"
    ),
    "unknown entity": (
        lambda d: append(d / "test.tsv", "e99\tborn\te20\n"), "test.tsv:14: head 'e99' is not in"
    ),
    "empty text": (
        lambda d: append(d / "texts.jsonl", '{"id": "x", "text": " "}\n'),
        "texts.jsonl:22: text 'x' is empty",
    ),
    "mixed encodings": (
        lambda d: append(d / "entities.tsv", "e98\tZoë\t\n".encode("latin-1")),
        "entities.tsv:31: byte 7 of the line (0xeb) is not UTF-8", "iconv",
    ),
    "duplicate ids": (
        lambda d: append(d / "entities.tsv", "e0\tAda\t\n"), "entities.tsv:31: id 'e0' is already"
    ),
    "relation only in test": (
        lambda d: (
            append(d / "relations.tsv", "hates\thates\t\n"),
            append(d / "test.tsv", "e0\thates\te1\n"),
        ),
        "test.tsv:14: relation 'hates' has no train triple",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_data(call: Call, own_config: Path, data: Path, tmp_path: Path, fault: str) -> None:
    damage, *parts = BROKEN[fault]
    damage(data)
    out = tmp_path / "run"
    answer = call("run", own_config, f"data.path={data}", "--out", out)
    require_one_line(answer, 2, str(data), *parts)
    assert answer.out == "" and not out.exists()
    require_one_line(call("data", "check", data), 2, *parts)
    checked = call("data", "check", data, "--json")
    report = json.loads(checked.out)
    assert checked.status == 2 and not report["ok"]
    assert [p for p in report["problems"] if p["severity"] == "error"]


def test_many_faults_are_listed(call: Call, data: Path) -> None:
    append(data / "train.tsv", "e0\tborn\ne1\tborn\n")
    append(data / "valid.tsv", "e0\tborn\te98\n")
    answer = call("data", "check", data)
    require_one_line(answer, 2, "train.tsv:41: found 2 columns", "; 2 more are listed")
    assert answer.out.count("error: ") == 3


def test_a_good_folder(call: Call, data: Path) -> None:
    answer = call("data", "check", data)
    assert (answer.status, answer.err) == (0, "")
    assert "can be loaded (40 train, 7 valid, 13 test, 30 entities" in answer.out
    (data / "relations.tsv").unlink()
    assert "warning: relations.tsv" in call("data", "check", data).out
    require_one_line(call("data", "check", data / "none"), 2, "no such folder")


def test_a_config_typo(call: Call, own_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = call("run", own_config, "train.epoch=3", "--out", out)
    require_one_line(answer, 2, "train.epoch=3", "did you mean 'train.epochs'?")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(own_config.read_text().replace("decoder:", "decodr:"))
    require_one_line(call("run", wrong, "--out", out), 2, "unknown key 'decodr'")
    require_one_line(call("run", tmp_path / "none.yaml"), 2, "no such configuration file")
    require_one_line(call("run"), 2, "give a configuration file, or --resume RUN")
    require_one_line(call("run", own_config, "--resume", out), 2, "one of them alone")
    require_one_line(call("run", own_config, "--data", out), 2, f"are data.path={out}")
    assert not out.exists()


def test_a_full_disk_while_writing_a_checkpoint(
    call: Call, own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "checkpoint.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    out = tmp_path / "run"
    words = ("run", own_config, "loop=null", "train.epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        answer = call(*words, "--out", out)
    require_one_line(answer, 3, "checkpoint.safetensors: no space left on the disk; free some")
    left = [path for path in out.rglob("*") if path.is_file()]
    assert not [p for p in left if p.suffix == ".tmp" or p.name == "checkpoint.safetensors"]
    assert not (out / "metrics.json").exists()
    # once there is space again, it goes on from what was trained
    assert call("run", "--resume", out).status == 0
    assert (out / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("failure", "status", "part"),
    [
        (OSError(errno.ENOSPC, "full", "x.tsv"), 3, "x.tsv: no space left on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "x.tsv"), 3, "x.tsv: Permission"),
        (MemoryError(), 3, "the memory is not enough"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3, "memory is not enough"),
    ],
)
def test_a_failure_of_the_machine(
    call: Call,
    own_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    status: int,
    part: str,
) -> None:
    def fail(folder: Path) -> None:
        raise failure

    monkeypatch.setattr("relgnn.loop.runs.open_run", fail)
    require_one_line(call("evaluate", own_run), status, part)


def test_our_own_mistakes_keep_their_traceback(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("relgnn.loop.runs.open_run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["evaluate", str(own_run)])


def test_ctrl_c_tells_how_to_go_on(
    call: Call, own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def stopped(world: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relgnn.loop.run.Loop.run", stopped)
    answer = call("run", own_config, "--out", out)
    assert answer == (130, "", f"stopped; go on with: relgnn run --resume {out}\n")
    answer = call("run", "--resume", out, "--out", tmp_path / "other")
    require_one_line(answer, 2, "a resumed run stays in its folder")
    require_one_line(call("run", "--resume", tmp_path), 2, "is no run folder")


def test_ctrl_c_before_anything_is_written(
    call: Call, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relgnn.loop.runs.open_run", stopped)
    assert call("evaluate", own_run).status == 130


def test_run_names_its_folder_after_configuration_and_seed(
    call: Call, own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("run", own_config, "loop=null", "train.epochs=1", "--json")
    first = json.loads(call(*words).out)
    second = json.loads(call(*words, "runtime.seed=1").out)
    assert first["run"].startswith("runs/own-") and (tmp_path / first["run"]).is_dir()
    assert second["run"] == first["run"] + "-seed1"
    assert first["rows"]["final"] == first["test"]
    require_one_line(call(*words), 2, "holds a run already; give another --out")
    table = call("run", "--resume", first["run"])
    assert "is finished already" in table.err and "final" in table.out
    assert call("run", "--resume", first["run"], "--quiet").err == ""
    assert not _SCREEN.quiet, "quiet ends with the command"


def test_evaluate(call: Call, own_run: Path, tmp_path: Path) -> None:
    ranks = tmp_path / "deep" / "ranks.tsv"
    answer = call("evaluate", own_run, "--ranks", ranks, "--json")
    assert json.loads(answer.out)["test"] == load_json(own_run / "metrics.json")["test"]
    header = "head\trelation\ttail\tside\trank_optimistic\trank_pessimistic\tcandidates\n"
    assert ranks.read_text().startswith(header)
    assert ranks.read_bytes() == (own_run / "ranks" / "loop.tsv").read_bytes()
    assert len(read_ranks(ranks)["head"][0]) == 13
    table = call("evaluate", own_run, "--split", "valid")
    assert "MRR" in table.out and "valid" in table.out
    assert call("evaluate", own_run, "--split", "train").status == 2
    require_one_line(call("evaluate", tmp_path), 2, "is no run folder")


def test_evaluate_by_type_and_category(call: Call, own_run: Path) -> None:
    plain = json.loads(call("evaluate", own_run, "--json").out)["test"]
    answer = json.loads(call("evaluate", own_run, "--typed", "--categories", "--json").out)["test"]
    kinds = answer.keys() - plain.keys()
    assert kinds and kinds <= {"1-1", "1-N", "N-1", "N-N"}
    queries = sum(answer[kind]["both"]["realistic"]["queries"] for kind in kinds)
    assert queries == plain["all"]["both"]["realistic"]["queries"]
    best = [part["all"]["both"]["realistic"]["mrr"] for part in (answer, plain)]
    assert best[0] >= best[1]
    table = call("evaluate", own_run, "--typed", "--categories").out
    assert "among entities of the right type" in table and next(iter(kinds)) in table


def test_score(call: Call, own_run: Path, tmp_path: Path) -> None:
    triples, out = tmp_path / "triples.tsv", tmp_path / "scores.tsv"
    triples.write_text("e0\tborn\te21\nAda Abel\tborn in\tBern\n")
    rows = json.loads(call("score", own_run, triples, "--json").out)
    assert rows[0]["score"] == rows[1]["score"] < 0 <= rows[0]["probability"] <= 1
    assert rows[1]["head"] == "Ada Abel"
    printed = call("score", own_run, triples).out
    lines = printed.splitlines()
    assert lines[0] == "head\trelation\ttail\tscore\tprobability" and len(lines) == 3
    answer = call("score", own_run, triples, "--out", out)
    assert answer.out == "" and out.read_text() == printed
    triples.write_text("e0\tborn\te21\ne0\tborn\tBernn\n")
    answer = call("score", own_run, triples, "--out", tmp_path / "no.tsv")
    require_one_line(answer, 2, "triples.tsv:2: entity 'Bernn'", "did you mean 'Bern'?")
    assert not (tmp_path / "no.tsv").exists()
    triples.write_text("e0\tborn\n")
    require_one_line(call("score", own_run, triples), 2, "triples.tsv:1: found 2 columns")
    require_one_line(call("score", own_run, tmp_path / "none.tsv"), 2, "none.tsv: no such file")
    triples.write_text("")
    assert json.loads(call("score", own_run, triples, "--json").out) == []


def test_predict(call: Call, own_run: Path) -> None:
    words = ("predict", own_run, "--relation", "born in")
    answers = json.loads(call(*words, "--head", "Ada Abel", "-k", 4, "--json").out)
    assert len(answers) == 4
    assert set(answers[0]) == {"entity", "name", "score", "probability", "known", "why"}
    everybody = json.loads(call(*words, "--head", "Ada Abel", "-k", 99, "--json").out)
    assert everybody[:4] == answers
    whys = [reason for answer in everybody for reason in answer["why"]]
    keys = {"kind", "text", "sentence", "p", "p_text", "p_graph", "p_rules"}
    assert whys and keys == set(whys[0])
    printed = call(*words, "--tail", "e21", "-k", 2).out
    assert printed.startswith("  1. ") and "\n  2. " in printed and "score" in printed
    require_one_line(call(*words, "--head", "Ada Able"), 2, "did you mean 'Ada Abel'?")
    require_one_line(call(*words), 2, "exactly one of --head and --tail")
    wrong = call("predict", own_run, "--relation", "born inn", "--head", "e0")
    require_one_line(wrong, 2, "relation 'born inn'", "did you mean 'born in' or 'born'?")
    assert call(*words, "--head", "e0", "-k", 0).status == 2


def test_extract(
    call: Call, own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Ada Abel was born in Cork."
    words = ("extract", own_run)
    found = json.loads(call(*words, text, "--at-least", 0, "--json").out)
    assert {"probability", "votes", "head_span", "tail_span", "sentence"} < set(found[0])
    file = tmp_path / "text.txt"
    file.write_text(text)
    assert json.loads(call(*words, f"@{file}", "--at-least", 0, "--json").out) == found
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert json.loads(call(*words, "-", "--at-least", 0, "--json").out) == found
    printed = call(*words, "She lives in Hull.", "--about", "Ada Abel", "--at-least", 0).out
    assert "Ada Abel –lives in→ Hull" in printed and "“She lives in Hull.”" in printed
    assert "no triple with a probability" in call(*words, "Nothing is named.").err
    require_one_line(call(*words, " "), 2, "the text is empty")
    for option in ("--head", "-k"):
        told = call(*words, text, option, 1)
        require_one_line(told, 2, "is no run of relation extraction", "and -k")
    require_one_line(call(*words, "@/none"), 2, "/none: cannot be read")
    file.write_bytes("Zoë".encode("latin-1"))
    require_one_line(call(*words, f"@{file}"), 2, "byte 3 is not UTF-8")


def test_data_list_and_show(call: Call, data: Path) -> None:
    sets = json.loads(call("data", "list", "--json").out)
    assert {"codex_s", "umls"} <= {one["name"] for one in sets}
    assert "codex_s" in call("data", "list").out
    facts = json.loads(call("data", "show", data, "--json").out)
    assert (facts["train"], facts["sentences"], facts["leakage"]["test_in_train"]) == (40, 62, 0)
    assert "What test gives away" in call("data", "show", data).out
    assert "corpus" in call("data", "show", "atlas").out
    assert f"\nchecksum {facts['checksum']}\n" in call("data", "show", data).out
    require_one_line(call("data", "show", "codex-s"), 2, "did you mean codex_s?")


def test_data_get(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relgnn.data.fetch.get", lambda name, folder: folder / name)
    monkeypatch.delenv("RELGNN_DATA", raising=False)
    assert call("data", "get", "umls").out == "data/umls\n"
    monkeypatch.setenv("RELGNN_DATA", str(tmp_path))
    assert call("data", "get", "umls").out == f"{tmp_path / 'umls'}\n"
    told = json.loads(call("data", "get", "umls", "--json").out)
    assert told == {"path": str(tmp_path / "umls")}
    monkeypatch.undo()
    require_one_line(call("data", "get", "nothing"), 2, "cannot be fetched")


def test_demo(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def run_demo(*arguments: object) -> dict[str, object]:
        calls.append(arguments)
        if len(calls) == 3:
            raise Interrupted("stopped after 3 epochs")
        return {"report": "report.html"}

    monkeypatch.setattr("relgnn.loop.demo.run_demo", run_demo)
    assert call("demo").out == ""
    answer = call("demo", "--out", tmp_path, "--fraction", 0.3, "--gnn", "compgcn", "--json")
    assert json.loads(answer.out) == {"run": str(tmp_path), "report": "report.html"}
    assert calls == [
        (Path("runs/demo"), 0.1, "rgcn", False), (tmp_path, 0.3, "compgcn", True)
    ]  # fmt: skip
    assert call("demo") == (130, "", "stopped; the same command goes on from here\n")


COMMANDS = (
    "", "demo", "data", "data list", "data show", "data check", "data get", "data prepare",
    "data import", "run", "evaluate", "score", "predict", "explain", "extract", "attack", "search",
    "ledger", "ledger show", "ledger why", "ledger revoke", "ledger import", "ledger export",
    "audit", "audit run", "audit verify", "audit queue", "audit queue list", "audit queue release",
    "audit queue withhold",
    "rules", "serve", "serve-key", "serve-key add", "serve-key list", "serve-key revoke",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_command_and_option(call: Call, command: str) -> None:
    text = call(*command.split(), "--help").out
    assert f"Usage: relgnn {command}".rstrip() in text
    assert "Example: relgnn" in text
    found = get_command(app)
    for word in command.split():
        found = found.commands[word]
    assert found.help or command == ""
    for parameter in found.params:
        assert getattr(parameter, "help", None), f"{command}: say what {parameter.name} is"
    listed = getattr(found, "commands", {})
    assert {" ".join([*command.split(), name]) for name in listed} <= set(COMMANDS)


def test_a_row_in_a_file_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    best = dict.fromkeys(("mrr", "hits@1", "hits@3", "hits@10"), 0.125)
    strata = ("all", "feature", "corpus", "none", "unseen", "1-1", "1-N", "N-1", "N-N")
    print_metrics("toy", {"test": {name: {"both": {"realistic": best}} for name in strata}})
    title, header, row = capsys.readouterr().out.splitlines()
    assert title.startswith("toy: MRR") and header.split()[:3] == ["MRR", "feature", "corpus"]
    assert row.split() == ["test", *["0.125"] * 12]


def test_usage_errors(call: Call) -> None:
    require_one_line(call("nothing"), 2, "no such command 'nothing'; see `relgnn --help`")
    require_one_line(call("predct"), 2, "predct", "predict", "see `relgnn --help`")
    require_one_line(call("evaluate"), 2, "RUN", "see `relgnn evaluate --help`")
    require_one_line(call("evaluate", "run", "--splt", "x"), 2, "--splt", "`relgnn evaluate --help")
    told = call("demo", "--gnn", "gat")
    require_one_line(told, 2, "'--gnn': 'gat' is not one of 'rgcn', 'compgcn'; see `relgnn demo")
    require_one_line(call("data", "show", "a", "b"), 2, "(b)", "see `relgnn data show --help`")
    for words in ((), ("data",)):
        answer = call(*words)
        assert answer.status == 2 and "Usage: relgnn" in answer.out + answer.err
    assert call("--version").out == f"relgnn {__version__}\n"


def test_words_that_are_no_text(call: Call, tmp_path: Path) -> None:
    by = os.fsdecode("Jürgen".encode("latin-1"))
    answer = call("ledger", "revoke", tmp_path, "e0", "born", "e21", "--by", by)
    require_one_line(answer, 2, "'J\\udcfcrgen' is not UTF-8")


def test_names_that_a_pipe_cannot_encode_are_escaped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.rename(tmp_path / "Łódź")
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="latin-1"))
    with pytest.raises(SystemExit) as left:
        main(["data", "show", str(folder)])
    sys.stdout.flush()
    assert not left.value.code and printed.getvalue().startswith(b"\\u0141\xf3d\\u017a\n")


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, relgnn.cli\n"
        "try: relgnn.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "import os; sys.exit('torch' in sys.modules or os.environ['OMP_WAIT_POLICY'] != 'passive')"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr
