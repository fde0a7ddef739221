"""Procedural materials: a small helper around Blender's shader nodes, and what surroundings are made of."""

import colorsys

import bpy
import numpy as np

from hf_handdiff.synthetic.materials import srgb_to_linear

Color = tuple[float, float, float]


class Shader:
    """A material under construction: its Principled BSDF and short names for the nodes that feed it."""

    def __init__(self, name: str, roughness: float = 0.5, metallic: float = 0.0, specular: float = 0.5):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.bsdf = self.tree.nodes["Principled BSDF"]
        self.set(Roughness=roughness, Metallic=metallic)
        self.bsdf.inputs["Specular IOR Level"].default_value = specular

    def node(self, kind: str, inputs: dict | None = None, **settings):
        """A new node `ShaderNode<kind>`; inputs are linked to sockets or set to values."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in settings.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            self.connect(value, node.inputs[key])
        return node

    def connect(self, value, socket) -> None:
        """Link a socket to `socket`, or set its value; colours are RGB."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif isinstance(value, (tuple, list, np.ndarray)) and socket.type == "RGBA":
            socket.default_value = (*[float(v) for v in value[:3]], 1.0)
        else:
            socket.default_value = value

    def set(self, **inputs) -> "Shader":
        """Set inputs of the Principled BSDF; underscores stand for blanks."""
        for name, value in inputs.items():
            self.connect(value, self.bsdf.inputs[name.replace("_", " ")])
        return self

    def position(self):
        """The place on the object in metres, moving with it."""
        return self.node("TexCoord").outputs["Object"]

    def attribute(self, name: str, output: str = "Fac"):
        """A mesh attribute."""
        return self.node("Attribute", attribute_name=name).outputs[output]

    def noise(self, vector, scale: float, detail: float = 3.0, distortion: float = 0.0, roughness: float = 0.5):
        """Noise 0..1 with `scale` features a metre."""
        inputs = {"Vector": vector, "Scale": scale, "Detail": detail, "Distortion": distortion, "Roughness": roughness}
        return self.node("TexNoise", inputs).outputs[0]

    def stretch(self, vector, scale: Color, rotation: Color = (0.0, 0.0, 0.0)):
        """`vector` scaled by axis and turned."""
        return self.node("Mapping", {"Vector": vector, "Scale": scale, "Rotation": rotation}).outputs[0]

    def ramp(self, value, low: float, high: float):
        """`value` from low..high to 0..1, clamped and smooth."""
        inputs = {"Value": value, "From Min": low, "From Max": high}
        return self.node("MapRange", inputs, interpolation_type="SMOOTHSTEP").outputs[0]

    def mix(self, share, first, second, blend: str = "MIX"):
        """`first` and `second` by `share`."""
        inputs = {"Fac": share, "Color1": first, "Color2": second}
        return self.node("MixRGB", inputs, blend_type=blend).outputs[0]

    def math(self, operation: str, first, second=0.0):
        """Arithmetic."""
        return self.node("Math", {0: first, 1: second}, operation=operation).outputs[0]

    def bump(self, height, distance_m: float, strength: float = 1.0, normal=None):
        """A normal by a height 0..1 of `distance_m`."""
        inputs = {"Height": height, "Distance": distance_m, "Strength": strength}
        if normal is not None:
            inputs["Normal"] = normal
        return self.node("Bump", inputs).outputs[0]


def color(rng: np.random.Generator, saturation=(0.1, 0.8), value=(0.15, 0.9)) -> Color:
    """A random colour, linear RGB."""
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return tuple(srgb_to_linear(np.array(rgb)).tolist())


def grey(rng: np.random.Generator, low: float, high: float, tint: float = 0.05) -> Color:
    """A random near-grey, linear RGB."""
    rgb = np.clip(rng.uniform(low, high) * (1.0 + rng.normal(0.0, tint, 3)), 0.0, 1.0)
    return tuple(srgb_to_linear(rgb).tolist())


def scaled(rgb: Color, factor: float) -> Color:
    """A lighter or darker colour."""
    return tuple(min(c * factor, 1.0) for c in rgb)


def plain(rng: np.random.Generator, rgb: Color | None = None, roughness: float | None = None, metallic: float = 0.0):
    """Plastic, paint or metal."""
    rgb = color(rng) if rgb is None else rgb
    roughness = rng.uniform(0.15, 0.7) if roughness is None else roughness
    shader = Shader("plain", roughness, metallic).set(Base_Color=rgb)
    if metallic == 0.0 and rng.random() < 0.3:
        shader.set(Coat_Weight=0.6, Coat_Roughness=0.1)
    return shader.material


def metal(rng: np.random.Generator):
    """Steel, brass or copper with fine scratches."""
    rgb = [(0.6, 0.6, 0.62), (0.75, 0.55, 0.25), (0.7, 0.4, 0.3), (0.35, 0.35, 0.38)][rng.integers(4)]
    shader = Shader("metal", metallic=1.0).set(Base_Color=rgb)
    scratch = shader.noise(shader.stretch(shader.position(), (20.0, 400.0, 20.0)), 5.0)
    low = rng.uniform(0.12, 0.35)
    shader.set(Roughness=shader.node("MapRange", {"Value": scratch, "To Min": low, "To Max": low + 0.2}).outputs[0])
    return shader.material


def glow(rgb: Color, strength: float):
    """A surface that shines."""
    shader = Shader("glow").set(Base_Color=(0.0, 0.0, 0.0), Emission_Color=rgb, Emission_Strength=strength)
    return shader.material


def wood(rng: np.random.Generator):
    """Planks with growth rings."""
    light = [(0.55, 0.33, 0.16), (0.35, 0.18, 0.08), (0.7, 0.52, 0.33), (0.14, 0.07, 0.04)][rng.integers(4)]
    shader = Shader("wood", rng.uniform(0.25, 0.6))
    turned = shader.stretch(shader.position(), (1.0, 7.0, 7.0), (0.0, 0.0, rng.uniform(0.0, 3.1)))
    rings = shader.noise(turned, rng.uniform(4.0, 9.0), 4.0, rng.uniform(0.5, 2.0))
    fine = shader.noise(shader.stretch(turned, (1.0, 12.0, 12.0)), 18.0)
    tone = shader.mix(shader.ramp(rings, 0.35, 0.65), light, scaled(light, rng.uniform(0.4, 0.7)))
    tone = shader.mix(shader.math("MULTIPLY", fine, 0.35), tone, scaled(light, 0.35))
    return shader.set(Base_Color=tone, Normal=shader.bump(fine, 0.0006, 0.4)).material


def planks(rng: np.random.Generator):
    """A parquet or board floor."""
    base = [(0.5, 0.3, 0.15), (0.3, 0.16, 0.08), (0.6, 0.48, 0.34)][rng.integers(3)]
    return _bricks(rng, base, scaled(base, 0.65), scaled(base, 0.15), (0.7, rng.uniform(0.07, 0.14)), 0.0015, 0.35)


def tiles(rng: np.random.Generator):
    """Wall or floor tiles."""
    base = grey(rng, 0.6, 0.95) if rng.random() < 0.5 else color(rng, (0.2, 0.6), (0.3, 0.8))
    size = rng.uniform(0.06, 0.2)
    return _bricks(rng, base, scaled(base, 0.92), grey(rng, 0.4, 0.9), (size, size), 0.003, 0.15, offset=0.0)


def brick_wall(rng: np.random.Generator):
    """Bricks with mortar."""
    base = [(0.35, 0.1, 0.06), (0.5, 0.4, 0.3), (0.25, 0.14, 0.1)][rng.integers(3)]
    return _bricks(rng, base, scaled(base, 0.6), (0.45, 0.42, 0.38), (0.24, 0.075), 0.008, 0.85)


def _bricks(rng, first, second, mortar, size, gap_m, roughness, offset=0.5):
    shader = Shader("bricks", roughness)
    position = shader.position()
    brick = shader.node(
        "TexBrick",
        {
            "Vector": position,
            "Color1": first,
            "Color2": second,
            "Mortar": mortar,
            "Scale": 1.0,
            "Mortar Size": gap_m,
            "Brick Width": size[0],
            "Row Height": size[1],
        },
        offset=offset,
    )
    grain = shader.noise(position, 40.0, 2.0)
    tone = shader.mix(shader.math("MULTIPLY", grain, 0.3), brick.outputs["Color"], scaled(first, 0.5))
    groove = shader.bump(shader.math("SUBTRACT", 1.0, brick.outputs["Fac"]), 0.003, 0.6)
    return shader.set(Base_Color=tone, Normal=shader.bump(grain, 0.0015, 0.3 * roughness, groove)).material


def plaster(rng: np.random.Generator, rgb: Color | None = None):
    """A painted wall: nearly one colour, with a little unevenness."""
    if rgb is None:
        rgb = grey(rng, 0.55, 0.95) if rng.random() < 0.6 else color(rng, (0.1, 0.6), (0.35, 0.9))
    shader = Shader("plaster", 0.85)
    grain = shader.noise(shader.position(), rng.uniform(30.0, 120.0), 2.0)
    stain = shader.noise(shader.position(), 1.5, 4.0)
    tone = shader.mix(shader.ramp(stain, 0.3, 0.8), rgb, scaled(rgb, rng.uniform(0.75, 0.97)))
    return shader.set(Base_Color=tone, Normal=shader.bump(grain, 0.002, 0.3)).material


def wallpaper(rng: np.random.Generator):
    """Stripes or checks in two colours."""
    first = color(rng, (0.05, 0.6), (0.4, 0.95))
    second = scaled(first, rng.uniform(0.5, 0.85)) if rng.random() < 0.6 else color(rng, (0.1, 0.6), (0.3, 0.9))
    shader = Shader("wallpaper", 0.8)
    return shader.set(Base_Color=_pattern(shader, rng, shader.position(), first, second)).material


def _pattern(shader: Shader, rng, vector, first, second):
    kind = rng.integers(4)
    pitch = np.exp(rng.uniform(np.log(12.0), np.log(70.0)))
    if kind == 0:
        wave = shader.node("TexWave", {"Vector": vector, "Scale": pitch / 6.0})
        return shader.mix(shader.ramp(wave.outputs["Fac"], 0.45, 0.55), first, second)
    if kind == 1:
        return shader.node("TexChecker", {"Vector": vector, "Color1": first, "Color2": second, "Scale": pitch}).outputs[
            0
        ]
    if kind == 2:
        dots = shader.node("TexVoronoi", {"Vector": vector, "Scale": pitch, "Randomness": 0.0}).outputs["Distance"]
        return shader.mix(shader.ramp(dots, 0.25, 0.3), second, first)
    blobs = shader.noise(vector, 0.5 * pitch, 1.0, 1.5)
    return shader.mix(shader.ramp(blobs, 0.48, 0.52), first, second)


def fabric(rng: np.random.Generator, rgb: Color | None = None):
    """Cloth: weave, sheen, and often a pattern."""
    first = color(rng, (0.0, 0.8), (0.08, 0.95)) if rgb is None else rgb
    shader = Shader("fabric", 0.9, specular=0.2).set(Sheen_Weight=rng.uniform(0.0, 0.4))
    position = shader.position()
    tone = first
    if rng.random() < 0.5:
        tone = _pattern(shader, rng, position, first, color(rng, (0.0, 0.7), (0.1, 0.95)))
    weave = shader.node("TexWave", {"Vector": position, "Scale": rng.uniform(90, 260)}, bands_direction="DIAGONAL")
    tone = shader.mix(shader.math("MULTIPLY", weave.outputs["Fac"], 0.3), tone, scaled(first, 0.4))
    return shader.set(Base_Color=tone, Normal=shader.bump(weave.outputs["Fac"], 0.0008, 0.5)).material


def marble(rng: np.random.Generator):
    """Polished stone with veins."""
    base = grey(rng, 0.7, 0.95) if rng.random() < 0.6 else grey(rng, 0.08, 0.3)
    shader = Shader("marble", rng.uniform(0.08, 0.3))
    vein = shader.noise(shader.position(), rng.uniform(2.0, 7.0), 8.0, 2.5)
    line = shader.ramp(shader.math("ABSOLUTE", shader.math("SUBTRACT", vein, 0.5)), 0.0, 0.06)
    return shader.set(Base_Color=shader.mix(line, grey(rng, 0.3, 0.6), base)).material


def ground(rng: np.random.Generator, kind: str):
    """Grass, asphalt, sand, carpet or concrete."""
    first, second, scale, height = {
        "grass": ((0.05, 0.13, 0.02), (0.16, 0.2, 0.05), 160.0, 0.02),
        "asphalt": ((0.03, 0.03, 0.032), (0.12, 0.12, 0.12), 260.0, 0.003),
        "sand": ((0.5, 0.38, 0.24), (0.35, 0.25, 0.15), 90.0, 0.006),
        "carpet": (color(rng, (0.1, 0.6), (0.2, 0.7)), color(rng, (0.0, 0.5), (0.1, 0.6)), 400.0, 0.004),
        "concrete": (grey(rng, 0.4, 0.7), grey(rng, 0.3, 0.5), 50.0, 0.002),
    }[kind]
    shader = Shader(kind, 0.95, specular=0.2)
    fine = shader.noise(shader.position(), scale, 2.0)
    coarse = shader.noise(shader.position(), 0.04 * scale, 3.0)
    share = shader.ramp(
        shader.math("ADD", shader.math("MULTIPLY", fine, 0.6), shader.math("MULTIPLY", coarse, 0.4)), 0.35, 0.65
    )
    return shader.set(Base_Color=shader.mix(share, first, second), Normal=shader.bump(fine, height, 0.7)).material


def foliage(rng: np.random.Generator):
    """Leaves that let light through, each a little different."""
    hue = rng.uniform(0.2, 0.38) if rng.random() < 0.85 else rng.uniform(0.02, 0.15)
    base = tuple(srgb_to_linear(np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 0.85), rng.uniform(0.25, 0.6)))))
    shader = Shader("foliage", rng.uniform(0.3, 0.6))
    share = shader.noise(shader.position(), 25.0, 2.0)
    shader.set(Base_Color=shader.mix(shader.ramp(share, 0.3, 0.7), base, scaled(base, 0.45)), Subsurface_Weight=0.0)
    return shader.material


def facade(rng: np.random.Generator):
    """A house wall with rows of windows, seen from far."""
    wall = grey(rng, 0.35, 0.85) if rng.random() < 0.5 else color(rng, (0.2, 0.5), (0.3, 0.8))
    shader = Shader("facade", 0.6)
    inputs = {"Vector": shader.position(), "Color1": (0.03, 0.04, 0.06), "Color2": (0.25, 0.32, 0.4), "Mortar": wall}
    inputs |= {"Scale": 1.0, "Mortar Size": rng.uniform(0.3, 0.5), "Brick Width": 1.6, "Row Height": 2.6}
    brick = shader.node("TexBrick", inputs, offset=0.0)
    return shader.set(Base_Color=brick.outputs["Color"]).material


def screen(rng: np.random.Generator, strength: float):
    """A display that is on: blocks of colour."""
    shader = Shader("screen", 0.1).set(Base_Color=(0.01, 0.01, 0.01))
    inputs = {"Vector": shader.position(), "Color1": color(rng), "Color2": color(rng, (0.0, 0.4), (0.5, 1.0))}
    inputs |= {"Mortar": color(rng, (0.0, 0.3), (0.0, 0.3)), "Scale": 1.0, "Mortar Size": 0.003}
    inputs |= {"Brick Width": rng.uniform(0.02, 0.06), "Row Height": rng.uniform(0.01, 0.04)}
    brick = shader.node("TexBrick", inputs)
    return shader.set(Emission_Color=brick.outputs["Color"], Emission_Strength=strength).material
