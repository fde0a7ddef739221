"""Of what kinds the images of a corpus are: a JSON file beside each shard, and their shares for the card."""

import json
from collections import Counter
from pathlib import Path

from hf_handdiff.files import replace_file
from hf_handdiff.json_files import read_json_object
from hf_handdiff.synthetic.plan import KINDS

FOLDER = "kinds"


def kinds_path(shard: Path) -> Path:
    """Where the kinds of a shard's rows are written."""
    return shard.parent / FOLDER / f"{shard.stem}.json"


def write_kinds(shard: Path, kinds: list[list[str]]) -> None:
    """Write the kinds of each row of `shard`, of `plan.KINDS`; those of rows without a hand are empty."""
    path = kinds_path(shard)
    path.parent.mkdir(exist_ok=True)
    with replace_file(path) as aside:
        aside.write_text(json.dumps({"kinds": kinds}, separators=(",", ":")) + "\n")


def read_kinds(shard: Path) -> list[list[str]] | None:
    """What `write_kinds` wrote; None for a shard of a version before 5, which tells no kinds."""
    path = kinds_path(shard)
    return read_json_object(path, "folder")["kinds"] if path.is_file() else None


def kinds_table(shards: list[Path]) -> str:
    """A Markdown table of the kinds in `shards` and their shares among the hands; empty where they are not told."""
    counts: Counter[str] = Counter()
    hands = 0
    for shard in shards:
        rows = read_kinds(shard)
        if rows is None:
            return ""
        counts.update(kind for row in rows for kind in row)
        hands += sum(1 for row in rows if row)
    if not hands:
        return ""
    lines = [f"| {kind} | {text} | {100 * counts[kind] / hands:.1f} % |" for kind, text in KINDS.items()]
    head = ["", "| kind | what the image shows | of the hands |", "| --- | --- | ---: |"]
    note = "\nAn image can be of several kinds; those of each row are in `kinds/`, a list a row in the shard's order."
    return "\n".join([*head, *lines, note, ""])
