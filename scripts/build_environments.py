"""Build the committed light environments from the CC0 HDRIs in Blender's Python wheel.

    pip download --no-deps bpy==5.0.1 -d DIR     # needs Python 3.11; the wheel is only unzipped, never run
    python scripts/build_environments.py DIR/bpy-5.0.1-*.whl

The eight 1024x512 panoramas (by Greg Zaal, Poly Haven, CC0) become one npz of about 0.8 MB: for each a JPEG
of the logarithm of its radiance (what is seen behind a hand needs no more) and a small 64x32 float16 map
with the full range (what lights the hand). Needs the packages OpenEXR and opencv-python-headless.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from hf_handdiff.synthetic.environment import ENVIRONMENTS_PATH, LIGHT_MAP_SIZE, encode_log_radiance

WORLD_FOLDER = "bpy/5.0/datafiles/studiolights/world/"
JPEG_QUALITY = 90


def read_panorama(data: bytes) -> np.ndarray:
    """An EXR file's bytes as linear RGB (H, W, 3) float32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panorama.exr"
        path.write_bytes(data)
        with OpenEXR.File(str(path)) as file:
            return np.array(file.channels()["RGB"].pixels, dtype=np.float32)


def build(wheel: Path, out: Path) -> None:
    """Read every world panorama of `wheel` and write the asset `out`."""
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(WORLD_FOLDER) and n.endswith(".exr"))
        if not names:
            raise SystemExit(f"{wheel} holds no {WORLD_FOLDER}*.exr: expected the wheel bpy 5.0.1")
        for name in names:
            panorama = read_panorama(archive.read(name))
            key = Path(name).stem
            encoded = encode_log_radiance(panorama)
            ok, jpeg = cv2.imencode(".jpg", encoded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if not ok:
                raise SystemExit(f"{name}: OpenCV could not encode the panorama")
            arrays[f"{key}/jpeg"] = jpeg.reshape(-1)
            arrays[f"{key}/light"] = cv2.resize(panorama, LIGHT_MAP_SIZE, interpolation=cv2.INTER_AREA).astype(
                np.float16
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    print(f"{len(names)} environments, {out.stat().st_size / 1e6:.2f} MB: {out}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the downloaded bpy 5.0.1 wheel")
    parser.add_argument("--out", type=Path, default=ENVIRONMENTS_PATH, help="default: the package's own asset")
    args = parser.parse_args()
    build(args.wheel, args.out)


if __name__ == "__main__":
    main()
