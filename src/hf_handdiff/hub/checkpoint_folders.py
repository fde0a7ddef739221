"""Saving checkpoints: whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from hf_handdiff.errors import StorageError
from hf_handdiff.files import add_to_folder
from hf_handdiff.hub.errors import why_not_written

# such as model.fp16.safetensors, model.fp16-00001-of-00002.safetensors, model.safetensors.index.fp16.json
_WEIGHTS = re.compile(
    r"model(?:\.([^.-]+))?(?:-\d+-of-\d+)?\.safetensors|model\.safetensors\.index(?:\.([^.]+))?\.json"
)


@contextmanager
def saving(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a folder to write a checkpoint to, which then becomes `folder`, or part of it where that is there.

    Weights of the same variant that an earlier save left in other shards are removed.

    Raises:
        StorageError: the disk is full, or `folder` cannot be written; it is then as it was.
    """
    try:
        with add_to_folder(folder) as aside:
            yield aside
            written = {path.relative_to(aside) for path in aside.rglob("*") if path.is_file()}
        _remove_outdated_weights(Path(folder), written)
    except (OSError, SafetensorError) as error:
        reason = why_not_written(error)
        raise StorageError(f"save_directory: {folder} cannot be written ({reason}); it is as it was before") from error


def _remove_outdated_weights(folder: Path, written: set[Path]) -> None:
    """Weights beside those just `written` (relative paths), of the same variant but not among them."""
    saved = {(path.parent, _variant(path.name)) for path in written if _WEIGHTS.fullmatch(path.name)}
    for parent, variant in saved:
        for path in (folder / parent).glob("model*"):
            is_old = _WEIGHTS.fullmatch(path.name) and parent / path.name not in written
            if is_old and _variant(path.name) == variant:
                path.unlink()


def _variant(name: str) -> str | None:
    """The variant in the name of a weights file, such as "fp16"."""
    found = _WEIGHTS.fullmatch(name)
    return found[1] or found[2]
