"""The files that a visitor can take along, in a folder that cleans itself."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from answering import Answer

from hf_handdiff.export.records import record_as_json
from hf_handdiff.viz import write_glb

KEEP_SECONDS = 3600


@dataclass(frozen=True)
class ResultFiles:
    """Paths of an answer's files: GLB with the hypotheses, GLB of the answer alone, JSON."""

    glb: str
    answer_glb: str
    json: str


def write_results(answer: Answer, folder: Path | None = None) -> ResultFiles:
    """Write an answer's files, and remove what is older than `KEEP_SECONDS`.

    Args:
        answer: what is written.
        folder: where; None: a folder of this app among the temporary files.
    """
    folder = Path(tempfile.gettempdir()) / f"handdiff-space-{os.getuid()}" if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    own = Path(tempfile.mkdtemp(dir=folder))
    output = answer.output
    hand = {"joints": output.mean_joints[0], "joint_std": output.joint_std[0]}
    glb = write_glb(own / "hand.glb", output.mean_vertices[0], output.faces, output.vertices[0], **hand)
    answer_glb = write_glb(own / "answer.glb", output.mean_vertices[0], output.faces, **hand)
    json_file = own / "hand.json"
    json_file.write_text(record_as_json(answer.record) + "\n")
    return ResultFiles(str(glb), str(answer_glb), str(json_file))


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEEP_SECONDS
    for entry in folder.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
