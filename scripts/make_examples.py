"""Make the example images of the README and of `make demo`: our own renders, from a seed that no corpus uses.

python scripts/make_examples.py --out examples
"""

import argparse
import io
from pathlib import Path

from hf_handdiff.images import open_image
from hf_handdiff.synthetic import SceneAssets, generate_sample


def main(argv=None):
    """Parse the flags and write the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="examples")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--indices", type=int, nargs="+", default=[2, 9])
    args = parser.parse_args(argv)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    assets = SceneAssets.load("test")
    for number, index in enumerate(args.indices, start=1):
        row = generate_sample(args.seed, index, assets)
        open_image(io.BytesIO(row["image"]["bytes"])).convert("RGB").save(folder / f"hand_{number}.jpg", quality=95)


if __name__ == "__main__":
    main()
