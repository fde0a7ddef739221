"""Accuracy and time of the bundled cascade with other diffusers schedulers, as a Markdown table.

    python scripts/compare_schedulers.py --data data/realistic_test --num-samples 300

Each takes the place of both stages' DDIM by `from_config`, at the checkpoint's own steps and, where that is given, at
more. Those that are refused are listed with the sentence.
"""

import argparse
import time

import diffusers
import numpy as np
from tqdm.auto import tqdm

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.metrics import pa_error

SCHEDULERS = {
    "DDIM": ("DDIMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "DPM-Solver++": ("DPMSolverMultistepScheduler", {}),
    "DPM-Solver++ SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LCM": ("LCMScheduler", {}),
    "PNDM": ("PNDMScheduler", {}),
    "flow matching (Euler)": ("FlowMatchEulerDiscreteScheduler", {}),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/realistic_test", help="corpus (default: %(default)s)")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--num-samples", type=int, default=300, help="images (default: %(default)s)")
    parser.add_argument("--steps", type=int, nargs="*", default=[20], help="more steps to try (default: %(default)s)")
    parser.add_argument("--num-hypotheses", type=int, default=20, help="(default: %(default)s)")
    arguments = parser.parse_args()
    rows = [row for row in load_corpus(arguments.data, arguments.split) if row["has_hand"]][: arguments.num_samples]
    print("| scheduler | steps | PA-MPJPE, mean of hypotheses, mm | one hypothesis, mm | seconds an image |")
    print("|---|---:|---:|---:|---:|")
    for name, (class_name, changes) in SCHEDULERS.items():
        for steps in (None, *arguments.steps):
            try:
                figures = measure(getattr(diffusers, class_name), changes, rows, steps, arguments.num_hypotheses)
            except InputError as error:
                print(f"| {name} | | refused: {error} | | |", flush=True)
                break
            print(f"| {name} | {steps or 'default'} | " + " | ".join(figures) + " |", flush=True)


def measure(scheduler_class, changes: dict, rows: list[dict], steps: int | None, num_hypotheses: int) -> list[str]:
    """PA-MPJPE of the mean and of single hypotheses, mm, and seconds an image.

    Raises:
        InputError: the scheduler cannot be used.
    """
    pipeline = CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    for name in ("joint_scheduler", "mesh_scheduler"):
        try:
            scheduler = scheduler_class.from_config(getattr(pipeline, name).config, **changes)
        except ValueError as error:
            raise InputError(f"{name}: diffusers itself refuses the configuration: {error}") from error
        setattr(pipeline, name, scheduler)
    errors, singles, seconds = [], [], []
    for number, row in enumerate(tqdm(rows, desc=scheduler_class.__name__, leave=False)):
        began = time.perf_counter()
        out = pipeline(
            row["image"],
            intrinsics=np.array(row["intrinsics_px"])[None],
            num_hypotheses=num_hypotheses,
            num_inference_steps=steps,
            num_mesh_inference_steps=steps,
            generator=number,
            output_type="pt",
        )
        seconds.append(time.perf_counter() - began)
        truth = out.mean_joints.new_tensor(row["joints_m"])[None]
        truth = truth - truth[:, :1]
        errors.append(1000 * pa_error(out.mean_joints, truth).mean().item())
        singles.append(1000 * pa_error(out.joints[0], truth.expand(num_hypotheses, -1, -1)).mean().item())
    return [f"{np.mean(errors):.2f}", f"{np.mean(singles):.2f}", f"{np.median(seconds):.3f}"]


if __name__ == "__main__":
    main()
