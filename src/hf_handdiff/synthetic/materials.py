"""Surface materials as rows of a float32 table that the compiled shader reads.

Every object of a scene has one row. Column numbers are module constants, because compiled code cannot read a
dataclass; `Material` is the readable side of the same row.
"""

from dataclasses import dataclass, field

import numpy as np

KIND_SKIN, KIND_PATTERN = 0, 1
PATTERN_PLAIN, PATTERN_NOISE, PATTERN_STRIPES, PATTERN_CHECKER, PATTERN_LABEL, PATTERN_GRAIN = range(6)
PATTERN_PRINT, PATTERN_BLOCKS = 6, 7  # lines of words with pictures between them; patches of three colours
NUM_PATTERNS = 8

COLUMN_KIND = 0
COLUMN_BASE = 1  # 3 columns, linear RGB: the back of the hand, or the first colour of a pattern
COLUMN_SECOND = 4  # 3 columns, linear RGB: the palm, or the second colour of a pattern
COLUMN_ACCENT = 7  # 3 columns, linear RGB: nails, or the third colour of print and blocks
COLUMN_FLUSH = 10  # 3 columns, factor on the albedo where blood shows (knuckles, fingertips); patterns: direction
COLUMN_ROUGHNESS = 13
COLUMN_SPECULAR = 14  # reflectance at normal incidence
COLUMN_FREQUENCY = 15  # cells a metre of the fine noise, or of the pattern
COLUMN_BLOTCH_FREQUENCY = 16  # cells a metre of the coarse noise
COLUMN_FINE_AMOUNT = 17  # relative contrast of the fine noise
COLUMN_BLOTCH_AMOUNT = 18  # relative contrast of the coarse noise
COLUMN_BUMP = 19  # strength by which noise tilts normals
COLUMN_PATTERN = 20
COLUMN_DUTY = 21  # share of the second colour in stripes; half-width of a label in metres
COLUMN_CREASE = 22  # darkness of the creases at the joints
COLUMN_SCATTER = 23  # how far light wraps around the surface, 1 for skin, 0 for hard objects
COLUMN_OFFSET = 24  # 3 columns, where in the noise volume the object lies, so that no two look alike
COLUMN_VEIN = 27  # how clearly veins show on the back of the hand and on the arm
NUM_COLUMNS = 28


PLAIN_COLOR_SHARE = 0.4


def srgb_to_linear(color) -> np.ndarray:
    """sRGB in 0..1 to linear light, by the plain power 2.2 that the shader's tone curve undoes."""
    return np.clip(np.asarray(color, np.float32), 0.0, 1.0) ** 2.2


@dataclass
class Material:
    """One surface. Colours are linear RGB; frequencies are cells a metre; see the column constants."""

    kind: int = KIND_PATTERN
    base: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    second: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    accent: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    flush: np.ndarray = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))
    roughness: float = 0.5
    specular: float = 0.04
    frequency: float = 400.0
    blotch_frequency: float = 60.0
    fine_amount: float = 0.0
    blotch_amount: float = 0.0
    bump: float = 0.0
    pattern: int = PATTERN_PLAIN
    duty: float = 0.5
    crease: float = 0.0
    scatter: float = 0.0
    vein: float = 0.0
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def row(self) -> np.ndarray:
        """The material as (NUM_COLUMNS,) float32."""
        row = np.zeros(NUM_COLUMNS, np.float32)
        row[COLUMN_KIND] = self.kind
        row[COLUMN_BASE : COLUMN_BASE + 3] = self.base
        row[COLUMN_SECOND : COLUMN_SECOND + 3] = self.second
        row[COLUMN_ACCENT : COLUMN_ACCENT + 3] = self.accent
        row[COLUMN_FLUSH : COLUMN_FLUSH + 3] = self.flush
        row[COLUMN_ROUGHNESS : COLUMN_DUTY + 3] = (
            self.roughness,
            self.specular,
            self.frequency,
            self.blotch_frequency,
            self.fine_amount,
            self.blotch_amount,
            self.bump,
            self.pattern,
            self.duty,
            self.crease,
            self.scatter,
        )
        row[COLUMN_OFFSET : COLUMN_OFFSET + 3] = self.offset
        row[COLUMN_VEIN] = self.vein
        return row


def random_color(rng: np.random.Generator, saturation: float = 0.6) -> np.ndarray:
    """A random linear RGB colour: a grey of random brightness, tinted up to `saturation`."""
    tint = rng.uniform(0.0, 1.0, 3)
    amount = rng.uniform(0.0, saturation)
    grey = rng.uniform(0.02, 0.95)
    return srgb_to_linear(grey * (1.0 - amount) + tint * amount)


def _plain_color(rng: np.random.Generator) -> np.ndarray:
    """White, black, wood or metal: what most things are made of."""
    kinds = np.array([[0.92, 0.91, 0.88], [0.07, 0.07, 0.08], [0.55, 0.4, 0.26], [0.6, 0.61, 0.63]])
    return srgb_to_linear(kinds[rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])] * rng.uniform(0.85, 1.08))


def random_object_material(rng: np.random.Generator) -> Material:
    """A synthetic thing's surface: paint, plastic, metal-like, printed, striped, wood-like."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    if rng.random() < 0.5:
        direction = np.eye(3)[rng.integers(3)]
    pattern = int(rng.integers(NUM_PATTERNS))
    frequency = float(np.exp(rng.uniform(np.log(15.0), np.log(250.0))))
    return Material(
        base=random_color(rng) if rng.random() > PLAIN_COLOR_SHARE else _plain_color(rng),
        second=random_color(rng, 0.9),
        accent=random_color(rng, 1.0),
        flush=direction,
        pattern=pattern,
        roughness=rng.uniform(0.15, 0.8),
        specular=rng.uniform(0.02, 0.07) if rng.random() < 0.85 else 0.5,
        frequency=frequency,
        blotch_frequency=rng.uniform(15.0, 90.0),
        fine_amount=rng.uniform(0.0, 0.15),
        blotch_amount=rng.uniform(0.0, 0.3),
        bump=rng.uniform(0.0, 0.06),
        duty=rng.uniform(0.01, 0.05) if pattern == PATTERN_LABEL else rng.uniform(0.2, 0.8),
        offset=rng.uniform(0.0, 32.0, 3),
    )


def random_glove_material(rng: np.random.Generator) -> Material:
    """A glove: rubber, leather, wool, or cloth with a palm of another colour. Shaded as skin that is no skin."""
    kind = str(rng.choice(["rubber", "leather", "wool", "work"], p=[0.4, 0.2, 0.2, 0.2]))
    if kind == "rubber":
        colors = [[0.2, 0.45, 0.75], [0.9, 0.9, 0.9], [0.08, 0.08, 0.1], [0.9, 0.75, 0.15], [0.85, 0.35, 0.5]]
        base = srgb_to_linear(np.array(colors[rng.integers(5)]) * rng.uniform(0.8, 1.08) + rng.normal(0.0, 0.03, 3))
    elif kind == "leather":
        base = srgb_to_linear(np.array([0.4, 0.26, 0.16]) * rng.uniform(0.2, 1.6))
    else:
        base = random_color(rng, 0.8)
    second = random_color(rng, 0.8) if kind == "work" else base
    shiny = kind in ("rubber", "leather")
    return Material(
        kind=KIND_SKIN,
        base=base,
        second=second,
        accent=base,
        flush=np.ones(3),
        roughness=rng.uniform(0.25, 0.55) if shiny else rng.uniform(0.75, 0.95),
        specular=rng.uniform(0.03, 0.06) if shiny else 0.02,
        frequency=rng.uniform(150.0, 900.0),
        blotch_frequency=rng.uniform(30.0, 140.0),
        fine_amount=rng.uniform(0.0, 0.08) if shiny else rng.uniform(0.1, 0.35),
        blotch_amount=rng.uniform(0.0, 0.12),
        bump=rng.uniform(0.0, 0.08) if shiny else rng.uniform(0.1, 0.35),
        crease=rng.uniform(0.0, 0.5),
        scatter=0.15,
        offset=rng.uniform(0.0, 32.0, 3),
    )


CLOTH_PATTERNS = [PATTERN_PLAIN] * 4 + [PATTERN_NOISE, PATTERN_STRIPES, PATTERN_CHECKER]


def random_cloth_material(rng: np.random.Generator) -> Material:
    """A sleeve's surface: rough, matt, plain, striped or checked."""
    material = random_object_material(rng)
    material.roughness, material.specular, material.bump = (
        rng.uniform(0.7, 0.95),
        0.02,
        rng.uniform(0.1, 0.35),
    )
    material.fine_amount, material.scatter = rng.uniform(0.05, 0.3), 0.3
    material.pattern = int(rng.choice(CLOTH_PATTERNS))
    return material
