"""The hand and forearm for Cycles: a fine mesh, its skin, and what it wears."""

from dataclasses import dataclass
from functools import lru_cache

import bpy
import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

from hf_handdiff.hand.forearm import forearm_topology
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.synthetic.hand_mesh import RenderHand
from hf_handdiff.synthetic.materials import srgb_to_linear
from hf_handdiff.synthetic.rasterizer import vertex_normals
from hf_handdiff.synthetic.shading import ATTRIBUTE_CREASE, ATTRIBUTE_FLUSH, ATTRIBUTE_PALM
from hf_handdiff.synthetic.skin import tone_color

from . import shaders
from .shapes import Parts, matrix

LEVELS = 2
FACES_PER_FACE = 4**LEVELS

# Lines of the palm in the rest hand, (x, z) m: heart, head, life, and the creases of the wrist.
PALM_LINES_M = (
    ((-0.079, -0.05), (-0.083, -0.035), (-0.085, -0.012), (-0.092, 0.006), (-0.1, 0.014)),
    ((-0.074, 0.033), (-0.07, 0.014), (-0.06, -0.008), (-0.048, -0.03)),
    ((-0.076, 0.034), (-0.064, 0.02), (-0.045, 0.008), (-0.025, 0.004), (-0.008, 0.006)),
    ((0.004, -0.02), (0.002, 0.0), (0.004, 0.022)),
    ((0.013, -0.02), (0.011, 0.0), (0.013, 0.022)),
)


def loop_matrix(faces: np.ndarray, count: int) -> tuple[csr_matrix, np.ndarray]:
    """One step of Loop's subdivision: the matrix (V', V) and the faces (4 F, 3); face f becomes 4 f .. 4 f + 3.

    Old vertices keep their numbers. C. Loop, "Smooth subdivision surfaces based on triangles", 1987, with
    Warren's weights.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    unique, inverse, sides = np.unique(np.sort(edges, 1), axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    new = count + np.arange(len(unique))
    inner = sides == 2
    rows, columns, weights = [], [], []

    def put(row, column, weight):
        rows.append(row), columns.append(column), weights.append(np.broadcast_to(weight, len(row)))

    end_weight = np.where(inner, 3 / 8, 1 / 2)
    put(new, unique[:, 0], end_weight)
    put(new, unique[:, 1], end_weight)
    put(new[inverse], opposite, np.where(inner[inverse], 1 / 8, 0.0))
    valence = np.bincount(unique.reshape(-1), minlength=count)
    border = np.zeros(count, bool)
    border[unique[~inner].reshape(-1)] = True
    beta = np.where(border, 0.0, np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1))))
    put(np.arange(count), np.arange(count), 1 - valence * beta)
    for a, b in ((0, 1), (1, 0)):
        put(unique[:, a], unique[:, b], beta[unique[:, a]])
    size = count + len(unique)
    step = coo_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (size, count))
    ab, bc, ca = new[inverse].reshape(3, -1)
    a, b, c = faces.T
    fine = np.stack([np.stack(f, 1) for f in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1)
    return step.tocsr(), fine.reshape(-1, 3)


@dataclass
class FineHand:
    """What all fine hands share.

    refine: (V', V) from the vertices of hand and forearm to the fine ones, which pass through them; faces
    (F', 3); face f of the hand becomes FACES_PER_FACE fine ones; corners_uv (3 F', 2), v up; values: what
    the skin's shader reads, by name.
    """

    refine: csr_matrix
    faces: np.ndarray
    corners_uv: np.ndarray
    values: dict[str, np.ndarray]


@lru_cache(maxsize=1)
def fine_hand(hand: RenderHand) -> FineHand:
    """Subdivide the hand."""
    topology = forearm_topology()
    faces, refine = hand.faces.astype(np.int64), None
    uv = topology.uv[topology.faces_uv]  # (F, 3, 2)
    for _ in range(LEVELS):
        step, faces = loop_matrix(faces, len(hand.rest) if refine is None else refine.shape[0])
        refine = step if refine is None else step @ refine
        a, b, c = uv[:, 0], uv[:, 1], uv[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        uv = np.stack([np.stack(f, 1) for f in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1).reshape(
            -1, 3, 2
        )
    # subdividing shrinks: move the control points outwards until the surface is back where it was
    kept = refine[: len(hand.rest)]
    eye = csr_matrix(np.eye(len(hand.rest)))
    refine = (refine @ (2 * eye - kept)).tocsr()
    rest = refine @ hand.rest
    crease = np.minimum(refine @ np.minimum(hand.attributes[:, ATTRIBUTE_CREASE], 0.02), 0.02)
    values = {
        "rest": rest,
        "palm": refine @ hand.attributes[:, ATTRIBUTE_PALM],
        "flush": refine @ hand.attributes[:, ATTRIBUTE_FLUSH],
        "line": np.minimum(crease, _palm_line_distance(rest, hand)),
        "back": np.clip(rest[:, 1] * 60.0 + 0.6, 0.0, 1.0),
    }
    corners = uv.reshape(-1, 2) * [1.0, -1.0] + [0.0, 1.0]
    return FineHand(refine, faces, corners, values)


def _palm_line_distance(rest: np.ndarray, hand: RenderHand) -> np.ndarray:
    """Distance (V',) m to the nearest line of the palm."""
    dense = []
    for line in PALM_LINES_M:
        line = np.array(line)
        along = np.linspace(0, len(line) - 1, 120)
        dense.append(np.stack([np.interp(along, np.arange(len(line)), line[:, k]) for k in range(2)], 1))
    distance, _ = cKDTree(np.concatenate(dense)).query(rest[:, [0, 2]])
    level = cKDTree(hand.rest[:, [0, 2]]).query(rest[:, [0, 2]], k=12)[1]
    middle = hand.rest[level, 1].mean(1)
    return np.where(rest[:, 1] < middle, distance, 0.02)


def hand_object(name: str, hand: RenderHand, points: np.ndarray, skin: "Skin", camera, mirrored: bool = False):
    """Hand and forearm `points` (V, 3) m in camera axes as an object of the scene.

    camera: (rotation (3, 3), position (3,)) of our camera axes in the world. Unmirrored, face f of the mesh
    is a part of face f // FACES_PER_FACE of the hand.
    """
    fine = fine_hand(hand)
    vertices = (fine.refine @ points).astype(np.float32)
    normals = vertex_normals(vertices, fine.faces.astype(np.int32)) * (-1.0 if mirrored else 1.0)
    vertices += (normals * skin.relief_m[:, None]).astype(np.float32)
    faces, corners = fine.faces, fine.corners_uv.reshape(-1, 3, 2)
    if mirrored:
        faces, corners = faces[:, ::-1], corners[:, ::-1]
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.reshape(-1))
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, np.int32).reshape(-1))
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    layer = mesh.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", np.ascontiguousarray(corners, np.float32).reshape(-1))
    for key, value in (("rest", fine.values["rest"]), ("skin_color", skin.color), ("gloss", skin.gloss)):
        vector = value.ndim == 2
        attribute = mesh.attributes.new(key, "FLOAT_VECTOR" if vector else "FLOAT", "POINT")
        attribute.data.foreach_set("vector" if vector else "value", value.astype(np.float32).reshape(-1))
    mesh.update(calc_edges=True)
    mesh.materials.append(skin.material)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    thing.matrix_world = matrix(*camera)
    return thing


def nail_image():
    """The nail mask as an image of Blender."""
    mask = load_open_hand_arrays("full")["nail_mask"]
    height, width = mask.shape
    image = bpy.data.images.new("nails", width, height, float_buffer=False)
    image.colorspace_settings.name = "Non-Color"
    pixels = np.repeat((mask[::-1, :, None] / 255.0).astype(np.float32), 4, 2)
    pixels[..., 3] = 1.0
    image.pixels.foreach_set(np.ascontiguousarray(pixels).reshape(-1))
    return image


@dataclass
class Skin:
    """A material, and what its hands' vertices carry: `color` (V', 3) linear, `gloss` (V',) the roughness, and
    `relief_m` (V',) by which the surface is raised."""

    material: object
    color: np.ndarray
    gloss: np.ndarray
    relief_m: np.ndarray


def smooth_step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`values` from low..high to 0..1, clamped and smooth; low may be the greater."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _noise(places: np.ndarray, pitch: float, rng: np.random.Generator, octaves: int = 2) -> np.ndarray:
    """Noise 0..1 (V',) with about `pitch` features a metre: sums of random waves."""
    total, weight = np.zeros(len(places)), 0.0
    for octave in range(octaves):
        direction = rng.normal(size=(3, 28))
        direction *= np.pi * pitch * 2.0**octave * rng.uniform(0.6, 1.4, 28) / np.linalg.norm(direction, axis=0)
        waves = np.cos((places @ direction + rng.uniform(0, 2 * np.pi, 28)).astype(np.float32)).sum(1) / np.sqrt(14.0)
        total, weight = total + 0.5**octave * waves, weight + 0.25**octave
    return 0.5 + 0.5 * np.tanh(0.8 * total / np.sqrt(weight))


def sample_skin(tone: float, hand: RenderHand, rng: np.random.Generator) -> Skin:
    """Skin of `tone` 0 (lightest) .. 1 (darkest): subsurface scattering, blotches, veins, creases, nails.

    What is larger than a millimetre is worked out at the vertices, which are that close; that renders several
    times faster than shader nodes under the skin.
    """
    values = fine_hand(hand).values
    place, light = values["rest"], 1.0 - tone
    base = tone_color(tone) + rng.normal(0.0, 0.008, 3) + rng.normal(0.0, 0.015) * np.array([1.0, 0.0, -0.6])
    toward_palm = rng.uniform(0.12, 0.3) + 0.3 * tone
    palm = base * (1 - toward_palm) + np.array([0.93, 0.72, 0.64]) * (0.55 + 0.45 * light) * toward_palm
    nail = 0.5 * base + 0.5 * np.array([0.93, 0.72, 0.69]) * (0.6 + 0.4 * light)
    if varnished := rng.random() < 0.1:
        nail = rng.uniform(0.05, 0.95, 3)
    base, palm, nail = (srgb_to_linear(np.clip(c, 0.01, 1.0)) for c in (base, palm, nail))

    blotch, mottle = _noise(place, rng.uniform(30, 70), rng), _noise(place, rng.uniform(140, 260), rng)
    palmness = smooth_step(values["palm"] + 0.3 * blotch, 0.45, 0.95)
    tint = np.array([1.0, 0.6, 0.56])
    layers = [  # share (V',), colour
        (palmness, palm),
        (
            smooth_step(values["flush"] + 0.7 * blotch, 0.45, 1.3) * rng.uniform(0.25, 0.7) * (0.35 + 0.65 * light),
            base * [1.12, 0.7, 0.68],
        ),
        (smooth_step(mottle, 0.35, 0.75) * rng.uniform(0.1, 0.3), base * [0.82, 0.62, 0.55]),
    ]
    # veins under the back of the hand: the zero lines of a slow noise
    slow = _noise(place * [0.45, 1.0, 1.0], rng.uniform(28, 42), rng, 1)
    vein = smooth_step(np.abs(slow - 0.5), 0.05, 0.0) * values["back"] * (1.0 - palmness)
    layers.append((vein * rng.uniform(0.05, 0.3), base * [0.62, 0.78, 0.85]))
    if rng.random() < 0.4:  # moles
        spots = place[rng.integers(len(place), size=int(rng.integers(2, 25)))]
        distance, _ = cKDTree(spots).query(place)
        layers.append((0.7 * smooth_step(distance, rng.uniform(0.001, 0.0022), 0.0006), base * 0.3))
    line = smooth_step(values["line"] + 0.002 * (mottle - 0.5), 0.0013, 0.0001) * rng.uniform(0.25, 0.75)
    layers.append((0.6 * line, base * tint * 0.6))
    colors = np.tile(base, (len(place), 1))
    for share, rgb in layers:
        colors += share[:, None] * (np.clip(rgb, 0.0, 1.0) - colors)

    gloss = 0.25 * mottle + rng.uniform(0.24, 0.46)
    depth = rng.uniform(0.5, 1.4)
    relief = depth * 0.00015 * (mottle - 0.5) - 0.0005 * line + 0.0004 * rng.uniform(0.2, 1.2) * vein
    return Skin(_skin_material(nail, varnished, depth, rng), colors, gloss, relief)


def _skin_material(nail: np.ndarray, varnished: bool, depth: float, rng: np.random.Generator):
    shader = shaders.Shader("skin", specular=rng.uniform(0.35, 0.55))
    texture = shader.node("TexImage", image=nail_image(), interpolation="Cubic")
    nails = shader.ramp(texture.outputs["Color"], 0.35, 0.6)
    keep = shader.math("SUBTRACT", 1.0, nails)
    polish = shader.math("MULTIPLY", nails, 0.12 if varnished else 0.28)
    roughness = shader.math("ADD", shader.math("MULTIPLY", shader.attribute("gloss"), keep), polish)
    cells = shader.noise(shader.attribute("rest", "Vector"), rng.uniform(500, 900), 0.0)
    shader.set(Base_Color=shader.mix(nails, shader.attribute("skin_color", "Color"), nail), Roughness=roughness)
    shader.set(Normal=shader.bump(shader.math("MULTIPLY", cells, keep), 0.00012 * depth))
    shader.set(
        Subsurface_Weight=rng.uniform(0.6, 1.0),
        Subsurface_Radius=(1.0, 0.35, 0.2),
        Subsurface_Scale=rng.uniform(0.002, 0.004),
    )
    if rng.random() < 0.15:  # moist
        shader.set(Coat_Weight=0.25, Coat_Roughness=0.25)
    return shader.material


def add_wearables(rings: np.ndarray, joints: np.ndarray, camera, rng: np.random.Generator, sleeve_share: float) -> list:
    """Perhaps a sleeve, a watch, a ring on a finger; `rings` (K, L, 3) of the forearm and `joints` (21, 3) in
    camera axes."""
    worn = []
    if rng.random() < sleeve_share:
        worn.append(_sleeve(rings, camera, rng))
    elif rng.random() < 0.2:
        worn.append(_watch(rings, camera, rng))
    if rng.random() < 0.1:
        worn.append(_finger_ring(joints, camera, rng))
    return worn


def _smooth_rings(rings: np.ndarray, along: np.ndarray, around: int) -> np.ndarray:
    """Rings (len(along), around, 3) between those given, at fractional ring numbers `along`."""
    lower = np.clip(along.astype(int), 0, len(rings) - 2)
    share = (along - lower)[:, None, None]
    picked = rings[lower] * (1 - share) + rings[lower + 1] * share
    spectrum = np.fft.rfft(picked, axis=1)[:, :5]
    angle = np.arange(around)[:, None] * 2 * np.pi / around * np.arange(5)
    waves = np.exp(1j * angle) * np.where(np.arange(5) == 0, 1, 2) / picked.shape[1]
    return np.einsum("ak,nkx->nax", waves, spectrum).real


def _sleeve(rings, camera, rng):
    first, around = rng.uniform(0.5, 6.0), 64
    along = np.linspace(first, len(rings) - 1.01, 70)
    inner = _smooth_rings(rings, along, around)
    centre = inner.mean(1, keepdims=True)
    angle = np.arange(around) * 2 * np.pi / around
    loose = rng.uniform(1.12, 1.45) + 0.25 * np.linspace(0, 1, 70) * rng.random()
    folds = np.zeros((70, around))
    for _ in range(7):
        phase, lobes, turns = rng.uniform(0, 6.28), rng.integers(1, 5), rng.uniform(-5, 5)
        folds += np.sin(lobes * angle[None] + turns * np.linspace(0, 6.28, 70)[:, None] + phase) * rng.uniform(0.2, 1)
    radius = loose[:, None] * (1 + 0.025 * folds)
    radius[:3] *= 1.03  # hem
    outer = centre + (inner - centre) * radius[..., None]
    lining = centre[:2] + (inner[:2] - centre[:2]) * np.array([1.02, 1.02])[:, None, None]
    loops = np.concatenate([lining[::-1], outer])
    parts = Parts()
    parts.rings(loops, shaders.fabric(rng))
    return parts.build("sleeve", *camera, smooth_deg=180.0)


def _watch(rings, camera, rng):
    at = rng.uniform(0.8, 3.0)
    loops = _smooth_rings(rings, at + np.array([0.0, 0.0, 0.75, 0.75]), 48)
    centre = loops.mean(1, keepdims=True)
    loops = centre + (loops - centre) * np.array([0.97, 1.07, 1.07, 0.97])[:, None, None]
    strap = shaders.plain(rng, None, 0.6) if rng.random() < 0.6 else shaders.metal(rng)
    parts = Parts()
    parts.rings(loops, strap)
    axis = centre[3, 0] - centre[0, 0]
    axis /= np.linalg.norm(axis)
    place = int(rng.integers(48))
    middle = loops[1:3, place].mean(0)
    out = middle - centre[1:3, 0].mean(0)
    out -= axis * (out @ axis)
    out /= np.linalg.norm(out)
    turn = np.stack([axis, out, np.cross(axis, out)], 1)
    radius = rng.uniform(0.015, 0.021)
    case = Parts().lathe(
        radius * np.array([0.001, 1.0, 1.05, 1.0, 0.9, 0.88, 0.001]),
        [-0.003, -0.003, 0.002, 0.006, 0.007, 0.0055, 0.0055],
        shaders.metal(rng),
    )
    dial = shaders.plain(rng, shaders.grey(rng, 0.0, 1.0), 0.1)
    case.lathe(radius * np.array([0.88, 0.001]), [0.0058, 0.0058], dial)
    for points, faces, material in case.pieces():
        parts.add(points @ turn.T + middle, faces, material)
    return parts.build("watch", *camera)


def _finger_ring(joints, camera, rng):
    finger = int(rng.choice([5, 9, 13, 13, 17]))
    axis = joints[finger + 1] - joints[finger]
    centre = joints[finger] + axis * rng.uniform(0.45, 0.6)
    size = np.linalg.norm(joints[9] - joints[0]) / 0.098
    return Parts().ring(0.0098 * size, 0.0013, shaders.metal(rng), centre, axis).build("ring", *camera)
