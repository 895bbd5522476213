"""What `relgnn extract` does with a run of relation extraction: labels of pairs of mentions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relgnn.commands.console import print_json
from relgnn.errors import InputError

if TYPE_CHECKING:
    from relgnn.data.relations import Example


def is_relation_run(run: Path) -> bool:
    """Whether a folder is a run of relation extraction."""
    from relgnn.config import RelationConfig, config_of_run

    return isinstance(config_of_run(run), RelationConfig)


def require_loop(run: Path) -> None:
    """Refuse a run over texts that reads no single one: generative, joint, document, few-shot.

    Raises:
        InputError: it is one.
    """
    from relgnn.config import AnyTextConfig, config_of_run

    if isinstance(config_of_run(run), AnyTextConfig):
        raise InputError(
            f"{run}: is a run of relation extraction that reads no single text; give one whose "
            "configuration has extraction:, or one of a loop"
        )


def label(
    run: Path,
    text: str | None,
    head: str | None,
    tail: str | None,
    file: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Print the likeliest relations of the mentions in a text or in each line of a file.

    Args:
        run: its folder.
        text: what names both, or None for `file`.
        head, tail: how the text names them.
        file: JSON lines, or None for `text`.
        top: labels shown of a pair.
        as_json: print JSON.

    Raises:
        InputError: a mention is not in its text, the file is broken, the run cannot be opened.
    """
    from relgnn.text.reader import open_reader

    if text is not None:
        examples: Sequence[Example] = [_from_words(text, head, tail)]
    else:
        assert file is not None
        if head is not None or tail is not None:
            raise InputError("--file holds its own heads and tails; leave --head and --tail away")
        examples = read_pairs(file)
    reader = open_reader(run)
    data = reader.data
    results = []
    for one, p in zip(examples, reader.probabilities(examples), strict=True):
        answers = [
            {"label": data.labels[i], "name": data.label_names[i], "probability": float(p[i])}
            for i in (-p).argsort(kind="stable")[:top].tolist()
        ]
        results.append(_described(one) | {"answers": answers})
    if as_json:
        print_json(results)
        return
    for found in results:
        print("\n".join(_lines(found)))


def read_pairs(path: Path) -> Sequence[Example]:
    """Pairs of mentions whose relation is not told, one a line.

    Raises:
        InputError: the file is absent or empty, or a line is broken; the first is named.
    """
    from relgnn.data.relations import example
    from relgnn.data.tables import Problems, raise_first, read_json_lines

    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    problems, found = Problems(), []
    for line, entry in read_json_lines(path, problems):
        try:
            found.append(example(entry, None))
        except InputError as error:
            problems.error("example", path, line, str(error))
    raise_first(problems.all()[:1], path.parent)
    if not found:
        raise InputError(f"{path}: is empty; give text, head and tail, one JSON object a line")
    return found


def _from_words(text: str, head: str | None, tail: str | None) -> Example:
    from relgnn.data.relations import example

    if head is None or tail is None:
        raise InputError(
            "this run tells how two mentions relate; name them as the text does, with --head and "
            "--tail"
        )
    return example({"text": text, "head": head, "tail": tail}, None)


def _described(one: Example) -> dict[str, Any]:
    return {
        "text": one.text, "head": one.text[slice(*one.head)], "tail": one.text[slice(*one.tail)],
        "head_span": one.head, "tail_span": one.tail,
    }  # fmt: skip


def _lines(found: dict[str, Any]) -> list[str]:
    text = " ".join(found["text"].split())
    rows = [
        f"{answer['probability']:.2f}  {answer['label']}"
        + (f" ({answer['name']})" if answer["name"] not in ("", answer["label"]) else "")
        for answer in found["answers"]
    ]
    return [f"{found['head']} → {found['tail']}  “{text}”", *(f"      {row}" for row in rows)]
