"""What a recipe says: the YAML file of a data set and a machine, checked before anything runs.

Keys: `base` (a file to build on), `data_set`, `processes` (of every training), `end_to_end` (stage 2 learns from
images), `trainings` (flags of every training), and one section of flags for each step, by the step's name.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from handdiff_training.flags import CONFIGS

from hf_handdiff.errors import InputError, first_line

DATA_SETS = {"freihand": "training_K.json", "ho3d": "train.txt"}
"""Name: the list by which its download is known."""
STEPS = (
    "corpus",
    "image_encoder",
    "keypoint_distribution",
    "conditions",
    "stage1",
    "autoencoder",
    "stage2",
    "assemble",
    "calibrate",
    "evaluate",
)
ABLATIONS = {
    "ablation-latent": ["cascade", "vertex_space"],
    "ablation-diversity": ["cascade", "one_sample", "noised_truth", "clean_truth"],
    "ablation-cascade": ["cascade", "single_stage", "deterministic", "no_consistency"],
}
"""Name: the variants of train/ablations that it compares."""
RECIPES = (*DATA_SETS, *ABLATIONS)
_KEYS = {"data_set": str, "processes": int, "end_to_end": bool, "trainings": dict}
_SECTIONS = (*STEPS, "ablations")


@dataclass(frozen=True)
class Recipe:
    """A whole training on one data set.

    Attributes:
        name: of `RECIPES`.
        file: where it stands.
        data_set: of `DATA_SETS`.
        processes: of every training; above 1 by torchrun.
        end_to_end: stage 2 learns from images, not from what the frozen encoder said of them once.
        trainings: flags of every training script.
        sections: flags of each step by its name.
        variants: of train/ablations, which are compared; none: the recipe trains the cascade itself.
    """

    name: str
    file: Path
    data_set: str
    processes: int = 1
    end_to_end: bool = False
    trainings: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: list[str] = field(default_factory=list)

    def flags(self, section: str) -> dict[str, Any]:
        """Of one step."""
        return self.sections.get(section, {})


def sizes(data_set: str) -> list[str]:
    """The machines that a data set's recipes are written for."""
    return sorted(path.stem for path in (CONFIGS / data_set).glob("*.yaml"))


def find_data_set(name: str, root: Path) -> str:
    """Whose download lies in `root`, as the recipe `name` expects it.

    Raises:
        InputError: it is no download of these, or another data set's.
    """
    found = [data_set for data_set, file in DATA_SETS.items() if (root / file).is_file()]
    expected = DATA_SETS if name in ABLATIONS else [name]
    if len(found) != 1 or found[0] not in expected:
        files = " or ".join(f"{DATA_SETS[data_set]} ({data_set})" for data_set in expected)
        there = f"that of {found[0]}" if len(found) == 1 else "no such list, or several"
        raise InputError(
            f"--data: expected the folder of a download with {files} for --recipe {name}, {root} has {there}"
        )
    return found[0]


def read_recipe(name: str, file: Path) -> Recipe:
    """The recipe `name` as a file has it.

    Raises:
        InputError: it is no recipe, or has keys that mean nothing.
    """
    values = _values(file)
    unknown = sorted(set(values) - {*_KEYS, *_SECTIONS})
    if unknown:
        raise InputError(
            f"recipe {file}: unknown keys {', '.join(unknown)}; expected {', '.join([*_KEYS, *_SECTIONS])}"
        )
    for key, value in values.items():
        kind = _KEYS.get(key, dict)
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 1)):
            raise InputError(f"recipe {file}: {key}: expected {_WORDS[kind]}, got {value!r}")
    if values.get("data_set") not in DATA_SETS:
        raise InputError(f"recipe {file}: data_set: expected {' or '.join(DATA_SETS)}, got {values.get('data_set')!r}")
    sections = {key: value for key, value in values.items() if key in _SECTIONS}
    settings = {key: value for key, value in values.items() if key in _KEYS}
    return Recipe(name, file, sections=sections, variants=ABLATIONS.get(name, []), **settings)


_WORDS = {str: "text", int: "a whole number from 1", bool: "true or false", dict: "flag: value"}


def with_settings(recipe: Recipe, changes: list[str]) -> Recipe:
    """The recipe with flags of its steps changed by STEP.FLAG=VALUE.

    Raises:
        InputError: one is not of that form.
    """
    sections = {name: dict(flags) for name, flags in recipe.sections.items()}
    trainings = dict(recipe.trainings)
    for change in changes:
        place, equals, value = change.partition("=")
        section, dot, flag = place.partition(".")
        if not (equals and dot and flag) or section not in (*_SECTIONS, "trainings"):
            names = ", ".join(("trainings", *_SECTIONS))
            raise InputError(f"--set: expected STEP.FLAG=VALUE with a step of {names}, got {change!r}")
        target = trainings if section == "trainings" else sections.setdefault(section, {})
        target[flag] = yaml.safe_load(value)
    return Recipe(**{**vars(recipe), "sections": sections, "trainings": trainings})


def _values(file: Path) -> dict:
    """The file's values over those of its `base`, section by section."""
    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"recipe {file}: expected a YAML file ({reason})") from None
    if not isinstance(values, dict):
        raise InputError(f"recipe {file}: expected a YAML file of key: value, got {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    below = _values(file.parent / str(base))
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        below[key] = {**below[key], **value} if both else value
    return below
