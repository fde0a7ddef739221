"""Train the whole system on FreiHAND or HO3D in one command: corpus, encoder, both stages, calibration, scores.

    python train/run.py --recipe freihand --data FreiHAND_pub_v2 --hand MANO_RIGHT.pkl --out runs/freihand
    python train/run.py --recipe ho3d --data HO3D_v3 --hand MANO_RIGHT.pkl --size eight_gpus --out runs/ho3d
    python train/run.py --recipe ablation-latent --data HO3D_v3 --hand MANO_RIGHT.pkl --out runs/ho3d_latent

What is done is skipped, and what was stopped goes on, by the same command. In the end stand the official scores,
OUT/evaluate/pred.zip, OUT/results.md and a checkpoint, OUT/checkpoint. --dry_run tells the commands alone.

The recipes are train/configs/DATA_SET/SIZE.yaml; --set changes a flag of a step.
"""

from pathlib import Path

from handdiff_training.flags import CONFIGS, FlagParser, run
from recipes.reading import ABLATIONS, RECIPES, find_data_set, read_recipe, sizes, with_settings
from recipes.results import write_results
from recipes.running import check_flags, forget, run_steps
from recipes.steps import steps_of

from hf_handdiff.errors import InputError

DEFAULT_SIZE = "one_gpu"


def parse_flags(argv=None):
    """The flags of this script."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--recipe", required=True, choices=RECIPES, help="a data set, or an ablation of the paper")
    add("--data", required=True, type=Path, help="folder of the download of FreiHAND or HO3D")
    add("--hand", type=Path, help="your MANO_RIGHT.pkl, of which the meshes shall be; default: the open hand")
    add("--out", required=True, type=Path, help="folder of the run")
    add("--size", help=f"the machine: the name of a file in train/configs/DATA_SET; default: {DEFAULT_SIZE}")
    add("--config", type=Path, help="a recipe of your own instead of --size")
    add("--set", nargs="+", default=[], metavar="STEP.FLAG=VALUE", help="change flags of steps")
    add("--again", metavar="STEP", help="remove this step and all after it, and do them again")
    add("--until", metavar="STEP", help="stop after this step")
    add("--dry_run", action="store_true", help="check the flags of all steps and tell the commands, but do nothing")
    args = parser.parse_args(argv)
    if args.config and args.size:
        parser.error("--config: a recipe of your own is for one machine; leave --size out")
    return args


def recipe_of(args):
    """The recipe that the flags name.

    Raises:
        InputError: it cannot be used with this download.
    """
    data_set = find_data_set(args.recipe, args.data)
    size = args.size or DEFAULT_SIZE
    if args.config is None and size not in sizes(data_set):
        raise InputError(f"--size: expected one of {', '.join(sizes(data_set))}, got {size!r}")
    recipe = read_recipe(args.recipe, args.config or CONFIGS / data_set / f"{size}.yaml")
    if recipe.data_set != data_set:
        raise InputError(
            f"--config: expected a recipe for {data_set}, whose download --data is, got one for {recipe.data_set}"
        )
    return with_settings(recipe, args.set)


def main(argv=None):
    """Parse the flags and do what is not done."""
    args = parse_flags(argv)
    if args.hand is not None and not args.hand.is_file():
        raise InputError(f"--hand: expected your MANO_RIGHT.pkl, there is no file {args.hand}")
    steps = steps_of(recipe_of(args), args.data, args.hand, args.out)
    names = [step.name for step in steps]
    if args.until is not None:
        if args.until not in names:
            raise InputError(f"--until: expected one of {', '.join(names)}, got {args.until!r}")
        steps = steps[: names.index(args.until) + 1]
    check_flags(steps)
    if args.dry_run:
        print("\n".join(step.told() for step in steps))
        return
    if args.again is not None:
        forget(steps, args.again, args.out)
    seconds = run_steps(steps, args.out)
    if args.recipe in ABLATIONS:
        print((args.out / f"{args.recipe}.md").read_text() if args.until is None else "")
    else:
        print(write_results(args.out, seconds))


if __name__ == "__main__":
    run(main)
