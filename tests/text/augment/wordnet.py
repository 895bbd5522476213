"""A WordNet of a few words, in its own format."""

from __future__ import annotations

from pathlib import Path

SYNSETS = {
    "noun": [("painter", "artist"), ("town", "city", "small_town")],
    "verb": [("see", "spot"), ("travel", "go")],
    "adj": [("old", "ancient")],
    "adv": [],
}
LETTER = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def write_wordnet(folder: Path) -> Path:
    folder.mkdir()
    for part, synsets in SYNSETS.items():
        data, index = "  1 A tiny WordNet\n", "  1 A tiny WordNet\n"
        for words in synsets:
            place = f"{len(data):08d}"
            lemmas = " ".join(f"{word} 0" for word in words)
            frames = " 00" if part == "verb" else ""
            data += f"{place} 03 {LETTER[part]} {len(words):02x} {lemmas} 000{frames} | none  \n"
            index += "".join(f"{word} {LETTER[part]} 1 0 1 0 {place}  \n" for word in words)
        (folder / f"data.{part}").write_text(data)
        (folder / f"index.{part}").write_text(index)
        (folder / f"{part}.exc").write_text("saw see\n" if part == "verb" else "")
    return folder
