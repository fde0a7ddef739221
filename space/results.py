"""The files of an answer: what a visitor can take along, and the pictures of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from answering import Answer
from PIL import Image

from hf_handdiff.export.records import record_as_json
from hf_handdiff.viz import write_glb


@dataclass(frozen=True)
class ResultFiles:
    """Paths of an answer's files: GLB with the hypotheses, GLB of the answer alone, JSON, pictures by name."""

    glb: str
    answer_glb: str
    json: str
    pictures: dict[str, str]


def write_results(answer: Answer, pictures: dict[str, Image.Image], folder: Path) -> ResultFiles:
    """Write an answer's files into a folder that is its own.

    Pictures are written here too: gradio would name them by their content and write them again for each visitor, and
    who fetches one at that moment gets a part of it, or nothing.
    """
    output = answer.output
    hand = {"joints": output.mean_joints[0], "joint_std": output.joint_std[0], "rig": answer.rig}
    glb = write_glb(folder / "hand.glb", output.mean_vertices[0], output.faces, output.vertices[0], **hand)
    answer_glb = write_glb(folder / "answer.glb", output.mean_vertices[0], output.faces, **hand)
    json_file = folder / "hand.json"
    json_file.write_text(record_as_json(answer.record) + "\n", encoding="utf-8")
    paths = {name: write_picture(picture, folder / f"{name}.jpg") for name, picture in pictures.items()}
    return ResultFiles(str(glb), str(answer_glb), str(json_file), paths)


def write_picture(picture: Image.Image, path: Path) -> str:
    """Write a picture as JPEG; its path."""
    picture.convert("RGB").save(path, "JPEG", quality=85)
    return str(path)
