"""Whose terms govern weights that are trained: those of the hands and data sets that they were learned from."""

import argparse
from pathlib import Path

import yaml

from handdiff_training.hands import load_hand
from hf_handdiff.data.corpus import read_settings
from hf_handdiff.errors import InputError
from hf_handdiff.hand.mesh_kinds import mesh_of_layer
from hf_handdiff.hand.topology import OPEN_HAND

_MODELS = ("model", "stage1", "autoencoder", "encoder", "image_encoder")


def training_terms(task, args: argparse.Namespace) -> list[str] | None:
    """What goes into the config of a trained model as `restricted_by`; None where nothing restricts it.

    Known are the user's hand (`--hand`), corpora that an importer of the package wrote and conditions that
    encode_corpus.py made of these, and the same of the models that the training uses. Of a Hub repository nothing is
    known.

    Args:
        task: with the models that it uses.
        args: its flags.
    """
    names = set()
    if getattr(args, "hand", None):
        names |= {mesh_of_layer(load_hand(args))} - {OPEN_HAND}
    for flag in ("corpus", "photos", "conditions"):
        names |= set(data_terms(getattr(args, flag, None)))
    for name in _MODELS:
        names |= set(model_terms(getattr(task, name, None)))
    return sorted(names) or None


def model_terms(model) -> list[str]:
    """`restricted_by` of a model's config; nothing where there is none."""
    return list(getattr(getattr(model, "config", None), "restricted_by", None) or [])


def data_terms(folder, split: str = "train") -> list[str]:
    """The same of a corpus or a folder of conditions; nothing where it is not known, as of a Hub repository."""
    if not folder or not Path(folder).is_dir():
        return []
    written = Path(folder) / f"{split}.yaml"
    try:
        values = yaml.safe_load(written.read_text()) if written.is_file() else read_settings(folder, split)
    except (OSError, yaml.YAMLError, InputError):
        return []
    if not isinstance(values, dict):
        return []
    return [*filter(None, [values.get("data_set")]), *(values.get("restricted_by") or [])]
