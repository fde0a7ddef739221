"""Writing the scene of a photo: all of its hands in one camera frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.cli.predict.files import make_folder, with_suffix
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.export.records import record_as_json
from hf_handdiff.files import replace_file

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline


def write_scene(
    pipeline: CascadedHandPipeline, output: Any, rows: range, image: np.ndarray, name: str, settings: PredictionSettings
) -> list[str]:
    """Write NAME.glb and, at last, NAME.json with all hands of an image, see `hf_handdiff.scene`.

    Args:
        pipeline: what answered.
        output: of `sample_hands`.
        rows: which hands of it are in the image.
        image: (H, W, 3) uint8.
        name: of the results, below `settings.out`.
        settings: what the user asked for.

    Returns:
        Lines for the user.
    """
    from hf_handdiff.export.scene_records import scene_record, write_scene_file
    from hf_handdiff.scene import make_scene
    from hf_handdiff.scene.contact import TOLERANCE_M

    stem = settings.out / name
    make_folder(stem.parent)
    scene = make_scene(pipeline, output, settings.camera_of(image), rows, settings.hand_length)
    write_scene_file(with_suffix(stem, "glb"), pipeline, scene)
    with replace_file(with_suffix(stem, "json")) as temporary:
        temporary.write_text(record_as_json(scene_record(scene)) + "\n")
    lines = [f"{len(scene.hands)} hand{'s' * (len(scene.hands) != 1)} in one scene -> {stem}.{{json, glb}}"]
    lines += [
        f"warning: hands {' and '.join(map(str, pair.hands))} of the scene go {1000 * pair.penetration:.0f} mm into "
        "each other: no likely pair that does not was found"
        for pair in scene.contacts
        if pair.penetration > TOLERANCE_M
    ]
    return lines
