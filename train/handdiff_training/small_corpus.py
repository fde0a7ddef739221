"""The small corpus of a first training: rendered once, with what the bundled image encoder says of it, and kept.

It lies in the folder that the variable HF_HANDDIFF_CACHE names, by default `~/.cache/hf_handdiff`. It shows that a
training works; it is too small to make a model better.
"""

import hashlib
import os
from pathlib import Path

from filelock import FileLock

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.errors import InputError, first_line

SMALL = "small"
NUM_RENDERS = {"train": 500, "validation": 64}
_SEEDS = {"train": 20_001, "validation": 20_002}


def cache_folder() -> Path:
    """Where the small corpus is kept."""
    named = os.environ.get("HF_HANDDIFF_CACHE")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else caches / "hf_handdiff"


def corpus_source(value: str) -> str:
    """The value of `--corpus`; for `small` the folder of the small corpus, which is rendered if it is not there.

    Raises:
        InputError: it cannot be rendered or written.
    """
    return value if value != SMALL else str(_once(_corpus_folder(), _render))


def conditions_source(value: str | None) -> str | None:
    """The value of `--conditions`; for `small` those of the small corpus, which are made if they are not there.

    Raises:
        InputError: they cannot be made or written.
    """
    return value if value != SMALL else str(_once(_conditions_folder(), _encode))


def _corpus_folder() -> Path:
    from hf_handdiff.synthetic.writer import GENERATOR_VERSION

    return cache_folder() / f"corpus-{NUM_RENDERS['train']}-v{GENERATOR_VERSION}"


def _conditions_folder() -> Path:
    """Named after the encoder's weights: others make their own."""
    weights = Path(DEFAULT_CHECKPOINT) / "image_encoder" / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    return cache_folder() / f"conditions-{NUM_RENDERS['train']}-{digest}"


def _once(folder: Path, make) -> Path:
    """Call `make(folder)` unless it was done before; of several processes one does it and the others wait."""
    done = folder / "complete"
    if done.is_file():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not done.is_file():
                make(folder)
                done.touch()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(
            f"the small corpus cannot be written to {folder} ({reason}): name another folder in HF_HANDDIFF_CACHE"
        ) from error
    return folder


def _render(folder: Path) -> None:
    try:
        from hf_handdiff.synthetic import write_corpus
    except ImportError as error:
        raise InputError(
            f"the small corpus needs {error.name}: `pip install hf_handdiff[synthetic]`, or name a corpus of yours"
        ) from error
    print(f"rendering a small corpus of {sum(NUM_RENDERS.values())} hands, once, into {folder}", flush=True)
    for split, count in NUM_RENDERS.items():
        write_corpus(folder, count, _SEEDS[split], num_workers=min(os.cpu_count() or 1, 8), split=split, shard_rows=50)


def _encode(folder: Path) -> None:
    from handdiff_training.encoding import encode_split
    from hf_handdiff.models import HandImageEncoder

    corpus = corpus_source(SMALL)
    print(f"running the bundled image encoder over the small corpus, once, into {folder}", flush=True)
    encoder = HandImageEncoder.from_pretrained(Path(DEFAULT_CHECKPOINT) / "image_encoder").eval()
    for split in NUM_RENDERS:
        encode_split(encoder, corpus, split, folder)
