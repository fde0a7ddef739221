"""What the frozen image encoder said of a corpus: a `datasets` data set that stages 1 and 2 train on without images.

A folder of Parquet shards with the columns of `hf_handdiff.data.features.CONDITION_FEATURES`, which `load_dataset`
reads, streams and pushes like any other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import CONDITION_FEATURES, condition_features
from hf_handdiff.data.shards import shard_name
from hf_handdiff.errors import InputError
from hf_handdiff.files import add_to_folder
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions

SHARD_ROWS = 10_000
_ROW_GROUP_ROWS = 1000
_IMAGE_COLUMNS = {  # field of ImageConditions: column
    "keypoints": "keypoints",
    "keypoint_scores": "keypoint_scores",
    "view_scale": "view_scale",
    "view_middle": "view_middle",
    "point_features": "point_features",
    "global_features": "global_features",
    "encoder_joints": "encoder_joints_m",
}
_TRUTH_COLUMNS = {"joints": "joints_m", "vertices": "vertices_m", "visible": "keypoints_visible"}


@dataclass
class Conditions:
    """A batch of conditions with its ground truth, all in the view frame of the estimated keypoints.

    Attributes:
        image: what the networks may see.
        joints: (B, 21, 3) m, wrist-relative.
        vertices: (B, V, 3) m, wrist-relative.
        visible: (B, 21) bool.
        row: (B,) int64, the row of the data set that each is, -1 if it is of none; None where nobody asks.
    """

    image: ImageConditions
    joints: torch.Tensor
    vertices: torch.Tensor
    visible: torch.Tensor
    row: torch.Tensor | None = None

    def first(self, count: int) -> "Conditions":
        """The first rows, at most `count`."""
        cut = {name: None if value is None else value[:count] for name, value in _columns(self).items()}
        return _conditions(cut)


def joined(one: Conditions, other: Conditions, order: torch.Tensor | None = None) -> Conditions:
    """The rows of both, those of `one` first, or as `order` (B,) says."""
    added = _columns(other)
    columns = {
        name: None if value is None or added[name] is None else torch.cat([value, added[name]])
        for name, value in _columns(one).items()
    }
    if order is not None:
        columns = {name: None if value is None else value[order] for name, value in columns.items()}
    return _conditions(columns)


def _columns(conditions: Conditions) -> dict[str, torch.Tensor | None]:
    own = {name: value for name, value in vars(conditions).items() if name != "image"}
    return {**vars(conditions.image), **own}


def _conditions(columns: dict[str, torch.Tensor | None]) -> Conditions:
    image = {field.name: columns.pop(field.name) for field in fields(ImageConditions)}
    return Conditions(ImageConditions(**image), **columns)


class ConditionData:
    """A split of a data set of conditions, read by row numbers.

    `datasets` maps its Arrow file into memory; batches are gathered from views of that memory, which is many times
    quicker than its own formatting of rows.

    Args:
        path: folder that encode_corpus.py wrote, or Hub id.
        split: "train", "validation" or "test".
        flag: of the command line, for messages.

    Raises:
        InputError: there is no such data set or split, it has other columns, or it is of an earlier version.
    """

    def __init__(self, path, split: str, flag: str = "--conditions"):
        if (Path(path) / split / "meta.json").is_file():
            raise InputError(
                f"{flag}: {path} holds .npy files of an earlier version; make it anew with "
                f"`python train/encode_corpus.py --corpus CORPUS --image_encoder ENCODER --out {path} --split {split}`"
            )
        try:
            self.dataset = load_corpus(path, split, columns=CONDITION_FEATURES)
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix("path: ")
            raise InputError(f"{flag}: expected what encode_corpus.py wrote, split {split!r}: {reason}") from error
        table = self.dataset.data.table
        self._views = {name: [_view(chunk) for chunk in table[name].chunks] for name in CONDITION_FEATURES}
        self._starts = np.cumsum([0, *(len(view) for view in self._views["view_scale"])])

    def __len__(self):
        return len(self.dataset)

    def sample(self, count: int, generator: torch.Generator) -> Conditions:
        """`count` rows drawn with replacement."""
        return self.rows(torch.randint(len(self), (count,), generator=generator).numpy())

    def first(self, count: int) -> Conditions:
        """The first rows, at most `count`."""
        return self.rows(np.arange(min(count, len(self))))

    def rows(self, index: np.ndarray) -> Conditions:
        """The given rows, as float32 tensors."""
        index = np.asarray(index, dtype=np.int64)
        image = {field: self._column(name, index) for field, name in _IMAGE_COLUMNS.items()}
        truth = {field: self._column(name, index) for field, name in _TRUTH_COLUMNS.items()}
        has_image = torch.ones(len(index))
        return Conditions(ImageConditions(has_image=has_image, **image), **truth, row=torch.from_numpy(index))

    def _column(self, name: str, index: np.ndarray) -> torch.Tensor:
        views = self._views[name]
        chunk_of = np.searchsorted(self._starts, index, side="right") - 1
        values = np.empty((len(index), *views[0].shape[1:]), np.float32 if views[0].dtype != np.bool_ else np.bool_)
        for chunk in np.unique(chunk_of):
            here = chunk_of == chunk
            values[here] = views[chunk][index[here] - self._starts[chunk]]
        return torch.from_numpy(values)


def _view(chunk: pa.Array) -> np.ndarray:
    """A chunk of a column as an array (rows, ...): a view, except of bools, which Arrow packs."""
    if isinstance(chunk, pa.ExtensionArray):  # Array2D
        return chunk.to_numpy(zero_copy_only=True)
    flat = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
    values = flat.to_numpy(zero_copy_only=not pa.types.is_boolean(flat.type))
    return values if flat is chunk else values.reshape(len(chunk), -1)


class ConditionWriter:
    """Takes batches; see `write_conditions`."""

    def __init__(self, aside: Path):
        self._aside = aside
        self._waiting: list[dict[str, np.ndarray]] = []
        self.parts: list[Path] = []
        self.rows = 0

    def add(self, conditions: Conditions) -> None:
        """Append one batch."""
        batch = {name: getattr(conditions.image, field).cpu().numpy() for field, name in _IMAGE_COLUMNS.items()}
        batch |= {name: getattr(conditions, field).cpu().numpy() for field, name in _TRUTH_COLUMNS.items()}
        self._waiting.append(batch)
        self.rows += len(batch["view_scale"])
        if sum(len(batch["view_scale"]) for batch in self._waiting) >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard."""
        if not self._waiting:
            return
        columns = {name: np.concatenate([batch[name] for batch in self._waiting]) for name in CONDITION_FEATURES}
        path = self._aside / f"part-{len(self.parts):05d}"
        pq.write_table(_table(columns), path, row_group_size=_ROW_GROUP_ROWS)
        self.parts.append(path)
        self._waiting = []


@contextmanager
def write_conditions(folder, split: str, **settings) -> Iterator[ConditionWriter]:
    """Give a writer; when the block ends well, its rows are the split of the data set in `folder`.

    Args:
        folder: of the data set; other splits in it stay.
        split: what was there of it is replaced.
        **settings: how the rows were made, for `{split}.yaml`.
    """
    folder = Path(folder)
    with add_to_folder(folder) as aside:
        writer = ConditionWriter(aside)
        yield writer
        writer.flush()
        for number, part in enumerate(writer.parts):
            part.rename(aside / shard_name(split, number, len(writer.parts)))
        (aside / f"{split}.yaml").write_text(yaml.safe_dump({"rows": writer.rows, **settings}))  # no data to `datasets`
        for old in folder.glob(f"{split}-*-of-*.parquet"):
            old.unlink()


def _table(columns: dict[str, np.ndarray]) -> pa.Table:
    """Columns as Arrow arrays that tell `datasets` their schema."""
    features = condition_features(
        columns["point_features"].shape[-1], columns["global_features"].shape[-1], columns["vertices_m"].shape[1]
    )
    schema = features.arrow_schema
    arrays = [_arrow(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    storage = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind
    flat = storage
    while isinstance(flat, (pa.ListType, pa.FixedSizeListType)):
        flat = flat.value_type
    array = pa.array(values.reshape(-1).astype(flat.to_pandas_dtype()), flat)
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    array = array.cast(storage)
    return kind.wrap_array(array) if isinstance(kind, pa.ExtensionType) else array
