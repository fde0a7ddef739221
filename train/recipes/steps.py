"""The steps of a recipe as commands: what each reads, what it makes, and by which flags."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handdiff_training.flags import CONFIGS

from recipes.reading import Recipe

HANDDIFF = "handdiff"
_AGAIN = "keypoint_distribution_again"
_WITH_HANDS = ("stage1", "autoencoder", "stage2")  # those that make hands on the fly


@dataclass(frozen=True)
class Step:
    """One command of a recipe.

    Attributes:
        name: of the step; its record and what it makes are called so.
        program: a script of train/ ("stage1", "ablations/ablate"), or `HANDDIFF`.
        flags: of the command line.
        makes: what is removed when the step is to be done again.
        processes: that share it.
    """

    name: str
    program: str
    flags: list[str]
    makes: tuple[Path, ...]
    processes: int = 1

    def told(self) -> str:
        """As one would type it."""
        program = self.program if self.program == HANDDIFF else f"python train/{self.program}.py"
        if self.processes > 1:
            place = "-m hf_handdiff" if self.program == HANDDIFF else f"train/{self.program}.py"
            program = f"torchrun --standalone --nproc_per_node {self.processes} {place}"
        return " ".join([program, *self.flags])


def steps_of(recipe: Recipe, data: Path, hand: Path | None, out: Path) -> list[Step]:
    """All steps of a recipe, in order.

    Args:
        recipe: what to do.
        data: folder of the download.
        hand: the user's MANO file; None: the open hand.
        out: folder of the run.
    """
    made = _Commands(recipe, data, hand, out)
    if recipe.variants:
        return [made.corpus(), *made.encoder(), *made.conditions(), made.training("autoencoder"), *made.ablations()]
    return [
        made.corpus(),
        *made.encoder(),
        *made.conditions(),
        made.training("stage1", conditions=out / "conditions"),
        made.training("autoencoder"),
        *made.stage2(),
        made.assemble(),
        made.calibrate(),
        made.evaluate(),
    ]


class _Commands:
    """Makes the steps of one run."""

    def __init__(self, recipe: Recipe, data: Path, hand: Path | None, out: Path):
        self.recipe, self.data, self.hand, self.out = recipe, data, hand, out

    @property
    def encoder_folder(self) -> Path:
        return self.out / "keypoint_distribution" / "model"

    def corpus(self) -> Step:
        flags = {"root": self.data, "out": self.out / "corpus", "mano": self.hand, **self.recipe.flags("corpus")}
        return Step("corpus", HANDDIFF, ["data", self.recipe.data_set, *_command_flags(flags)], (self.out / "corpus",))

    def encoder(self) -> Iterator[Step]:
        yield self.training("image_encoder", corpus=self.out / "corpus")
        first = self.out / "image_encoder" / "model"
        yield self.training("keypoint_distribution", corpus=self.out / "corpus", image_encoder=first)

    def training(self, name: str, script: str | None = None, **inputs: Path) -> Step:
        """A training script, by default called as the step, with its config; the recipe's flags win over it."""
        script = script or name
        hand = {"hand": self.hand} if script in _WITH_HANDS else {}
        flags = {
            "config": CONFIGS / f"{script}.yaml",
            **inputs,
            **hand,
            "output_dir": self.out / name,
            "resume_from_checkpoint": "latest",
            **self.recipe.trainings,
            **self.recipe.flags(script),
        }
        return Step(name, script, _script_flags(flags), (self.out / name,), self.recipe.processes)

    def conditions(self) -> Iterator[Step]:
        """What the encoder says of both splits; ablations also need its estimates as they are."""
        kinds = {"conditions": {}, "estimates": {"estimates": True}} if self.recipe.variants else {"conditions": {}}
        for name, more in kinds.items():
            for split in ("train", "validation"):
                flags = {
                    "corpus": self.out / "corpus",
                    "image_encoder": self.encoder_folder,
                    "out": self.out / name,
                    "split": split,
                    **self.recipe.flags("conditions"),
                    **({} if split == "train" else {"passes": 1}),
                    **more,
                }
                makes = (self.out / name,) if split == "train" else ()
                step = name if split == "train" else f"{name}_validation"
                yield Step(step, "encode_corpus", _script_flags(flags), makes)

    def stage2(self) -> Iterator[Step]:
        """From images or from what the encoder said of them; an encoder that learned with it errs differently then."""
        if self.recipe.end_to_end:
            seen = {"conditions": "none", "corpus": self.out / "corpus", "image_encoder": self.encoder_folder}
        else:
            seen = {"conditions": self.out / "conditions"}
        stage1, autoencoder = self.out / "stage1" / "model", self.out / "autoencoder" / "model"
        yield self.training("stage2", **seen, joint_denoiser=stage1, mesh_autoencoder=autoencoder)
        if self.encoder_learns:
            learned = {"corpus": self.out / "corpus", "image_encoder": self.out / "stage2" / "image_encoder"}
            yield self.training(_AGAIN, "keypoint_distribution", **learned)

    @property
    def encoder_learns(self) -> bool:
        """Whether the encoder learns with stage 2."""
        return self.recipe.end_to_end and float(self.recipe.flags("stage2").get("encoder_learning_rate", 0)) > 0

    def assemble(self) -> Step:
        flags = {
            "image_encoder": self.out / _AGAIN / "model" if self.encoder_learns else self.encoder_folder,
            "joint_denoiser": self.out / "stage1" / "model",
            "mesh_autoencoder": self.out / "autoencoder" / "model",
            "mesh_latent_denoiser": self.out / "stage2" / "model",
            "out": self.out / "checkpoint",
            **self.recipe.flags("assemble"),
        }
        return Step("assemble", "assemble", _script_flags(flags), (self.out / "checkpoint",))

    def calibrate(self) -> Step:
        return self._evaluation("calibrate", split="validation", write_calibration=True, pictures=0)

    def evaluate(self) -> Step:
        return self._evaluation("evaluate", split="evaluation")

    def _evaluation(self, name: str, **more: Any) -> Step:
        flags = {
            "checkpoint": self.out / "checkpoint",
            "data": self.out / "corpus",
            "hand": self.hand,
            "out": self.out / name,
            **more,
            **self.recipe.flags(name),
        }
        return Step(name, HANDDIFF, ["evaluate", *_command_flags(flags)], (self.out / name,), self.recipe.processes)

    def ablations(self) -> Iterator[Step]:
        """The variants that the recipe compares, trained and scored, and their table."""
        runs = self.out / "ablations"
        flags = {
            "conditions": self.out / "conditions",
            "estimates": self.out / "estimates",
            "image_encoder": self.encoder_folder,
            "mesh_autoencoder": self.out / "autoencoder" / "model",
            "out": runs,
            "only": self.recipe.variants,
            "score_on": [f"{self.recipe.data_set}={self.out / 'corpus'}:evaluation"],
            **self.recipe.flags("ablations"),
        }
        to_all = _script_flags({"hand": self.hand, **self.recipe.trainings})
        yield Step("ablations", "ablations/ablate", [*_script_flags(flags), "--", *to_all], (runs,))
        table = {"runs": runs, "only": self.recipe.variants, "out": self.out / f"{self.recipe.name}.md"}
        yield Step(self.recipe.name, "ablations/table", _script_flags(table), (table["out"],))


def _script_flags(flags: dict[str, Any]) -> list[str]:
    """As the scripts of train/ take them: --flag value, --flag or --no-flag, lists one after the other."""
    return [word for name, value in flags.items() for word in _words(name, value)]


def _command_flags(flags: dict[str, Any]) -> list[str]:
    """As `handdiff` takes them, with - for _."""
    return [word for name, value in flags.items() for word in _words(name.replace("_", "-"), value)]


def _words(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}"] if value else [f"--no-{name}"]
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}", str(value)]
