"""Skin: a wide range of tones, palms lighter than backs, flushed knuckles, nails, creases, veins, blotches."""

import numpy as np

from hf_handdiff.synthetic.materials import KIND_SKIN, Material, srgb_to_linear

# sRGB anchors of skin albedo from the lightest (0) to the darkest (1) tone. They span the reflectances that are
# measured on people, about 60 % to 8 % in red and 40 % to 4 % in green light. Swatches such as the Monk scale's
# are colours of photographs, with light and shadow in them: as albedo their ends would come out white and black.
TONE_ANCHORS_SRGB = (
    np.array(
        [
            [226, 192, 172],
            [220, 181, 157],
            [209, 166, 138],
            [194, 149, 118],
            [176, 130, 100],
            [157, 112, 84],
            [137, 95, 71],
            [118, 80, 61],
            [100, 68, 54],
            [84, 57, 47],
        ]
    )
    / 255.0
)
VEIN_SHARE = 0.4
PALM_SRGB = np.array([236, 188, 166]) / 255.0


def tone_color(tone: float) -> np.ndarray:
    """sRGB (3,) of the skin tone `tone` in 0 (lightest) .. 1 (darkest)."""
    position = np.linspace(0.0, 1.0, len(TONE_ANCHORS_SRGB))
    return np.array([np.interp(tone, position, TONE_ANCHORS_SRGB[:, channel]) for channel in range(3)])


def sample_skin(rng: np.random.Generator) -> tuple[Material, float]:
    """A random skin and its tone in 0..1."""
    tone = float(rng.uniform(0.0, 1.0))
    base = tone_color(tone) + rng.normal(0.0, 0.012, 3)
    base[0] += rng.normal(0.0, 0.02)  # ruddy or pale
    base[2] += rng.normal(0.0, 0.02)  # olive or pink
    toward_palm = rng.uniform(0.1, 0.3) + 0.35 * tone
    palm = base * (1.0 - toward_palm) + PALM_SRGB * (0.55 + 0.45 * (1.0 - tone)) * toward_palm
    nail = 0.55 * base + 0.45 * np.array([0.93, 0.74, 0.70]) * (0.6 + 0.4 * (1.0 - tone))
    if rng.random() < 0.12:  # varnish
        nail = rng.uniform(0.05, 0.95, 3)
    blood = rng.uniform(0.3, 1.0) * (1.0 - 0.6 * tone)
    material = Material(
        kind=KIND_SKIN,
        base=srgb_to_linear(base),
        second=srgb_to_linear(palm),
        accent=srgb_to_linear(nail),
        flush=1.0 - blood * np.array([0.02, 0.28, 0.24]),
        roughness=rng.uniform(0.42, 0.72),
        specular=rng.uniform(0.018, 0.04),
        frequency=rng.uniform(350.0, 900.0),
        blotch_frequency=rng.uniform(40, 140),
        fine_amount=rng.uniform(0.01, 0.06),
        blotch_amount=rng.uniform(0.03, 0.2),
        bump=rng.uniform(0.01, 0.09),
        crease=rng.uniform(0.05, 0.45),
        scatter=1.0,
        vein=rng.uniform(0.1, 0.4) if rng.random() < VEIN_SHARE else 0.0,
        offset=rng.uniform(0.0, 32.0, 3),
    )
    return material, tone
