"""What an attacker sends or leaves behind: pickles in a run folder, paths out of the service."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from relgnn.errors import InputError
from relgnn.loop.opened import open_run
from relgnn.serving.app import create_app
from relgnn.serving.settings import Settings
from relgnn.serving.share import shared_vectors
from tests.answers import Call, require_one_line
from tests.conftest import ROOT


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def run(own_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_run, tmp_path / "run"))


def poisoned(path: Path, mark: Path) -> None:
    """Put a pickle in the place of a file; whoever unpickles it makes `mark`."""
    path.write_bytes(pickle.dumps(Payload(mark)))


def test_the_payload_works(tmp_path: Path) -> None:
    poisoned(tmp_path / "x", tmp_path / "mark")
    pickle.loads((tmp_path / "x").read_bytes())
    assert (tmp_path / "mark").is_dir()


@pytest.mark.parametrize(
    "name",
    ["checkpoint.safetensors", "context.safetensors", "calibration.json", "environment.json",
     "extractor/pairs.safetensors", "extractor/extractor.safetensors", "extractor/fusion.json"],
)  # fmt: skip
def test_a_pickle_in_a_run_folder_is_refused(
    run: Path, tmp_path: Path, call: Call, name: str
) -> None:
    assert (run / name).is_file()
    poisoned(run / name, tmp_path / "mark")
    text = "Ada Abel was born in Cork."
    require_one_line(call("extract", run, text), 2, Path(name).name)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_as_shared_vectors_is_refused(run: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.safetensors"
    shutil.copy(shared_vectors(run), vectors)
    poisoned(vectors, tmp_path / "mark")
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        open_run(run, vectors)
    assert not (tmp_path / "mark").exists()


UNSAFE = {
    ("pickle", "load"), ("pickle", "loads"), ("torch", "load"), ("yaml", "unsafe_load"),
    ("yaml", "full_load"), ("marshal", "loads"), ("shelve", "open"), ("joblib", "load"),
    ("os", "system"), ("builtins", "eval"), ("builtins", "exec"),
}  # fmt: skip
EXPECTED = {"relgnn/data/ogb_export.py": {("torch", "load")}}
"""It replaces torch.load by a reader of arrays alone; see tests/data/test_ogb.py."""


def unsafe_calls(source: str) -> set[tuple[str, str]]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add((node.value.id, node.attr))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(("builtins", node.func.id))
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            assert isinstance(node.value, ast.Constant)
            found |= {("keyword", node.arg)} if node.value.value else set()
    return found & (UNSAFE | {("keyword", "shell"), ("keyword", "allow_pickle")})


def test_nothing_of_ours_runs_what_it_reads() -> None:
    found = {
        str(path.relative_to(ROOT)): unsafe_calls(path.read_text("utf-8"))
        for path in (ROOT / "relgnn").rglob("*.py")
    }
    assert {name: calls for name, calls in found.items() if calls} == EXPECTED
    for source in (
        "pickle.loads(x)",
        "eval(x)",
        "run(x, shell=True)",
        "load(x, allow_pickle=True)",
    ):
        assert unsafe_calls(source)


OUT = (
    "../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2fapp.py", "....//app.py", "..\\app.py",
    "..%5capp.py", "%252e%252e%252fapp.py", "/etc/passwd", "%2fetc%2fpasswd",
    "page.css/../../app.py", "page.css%00.py", "./../../serving/app.py",
)  # fmt: skip


def test_no_path_leads_out_of_the_static_files(run: Path) -> None:
    with TestClient(create_app(Settings(run=run)), "http://localhost") as client:
        assert client.get("/static/page.css").status_code == 200
        for path in OUT:
            answer = client.get(f"/static/{path}")
            assert answer.status_code in (400, 404), path
            assert "import" not in answer.text and "root:" not in answer.text
        for name in ("../../etc/passwd", "/etc/passwd", "e0/../../x", "..\\x", "e0\x00"):
            asked = client.get("/v1/neighbourhood", params={"entity": name})
            assert asked.status_code == 422 and "is not in data" in asked.json()["error"]
            sent = client.post("/v1/predict", json={"head": name, "relation": "born"})
            assert sent.status_code == 422 and "root:" not in sent.text
