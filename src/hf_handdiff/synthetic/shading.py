"""The compiled shader: from visible faces to tone-mapped colours.

Light is a set of directional lights, each with a shadow map, and an ambient gradient from below to above that
is dimmed where most of the lights are blocked.
Skin scatters light: each colour channel wraps around the terminator by its own amount (red farthest), and
shadows have a reddish rim. Highlights are GGX. Texture and bump come from a tiling noise volume that is
looked up at the rest position of the surface, so that they stick to a posed hand and have no seams.
"""

import numba
import numpy as np

from hf_handdiff.synthetic import materials as m

SUPERSAMPLING = 2
NOISE_SIZE = 32
# Columns of the per-vertex surface attributes.
ATTRIBUTE_PALM, ATTRIBUTE_NAIL, ATTRIBUTE_FLUSH, ATTRIBUTE_CREASE = 0, 1, 2, 3
NUM_ATTRIBUTES = 4
VEIN_WIDTH = np.float32(0.2)  # in values of the coarse noise: about 2 mm on either side
# Compiled code would promote a float32 that meets an integer to float64.
ZERO, ONE, TWO, THREE = np.float32(0), np.float32(1), np.float32(2), np.float32(3)
# The power 1 / 2.2 of the tone curve, over the square root of its argument: a table is faster than a power.
_ROOT_TO_DISPLAY = (np.linspace(0.0, 1.0, 1024) ** (2.0 / 2.2)).astype(np.float32)


def noise_volume(seed: int = 0) -> np.ndarray:
    """A tiling volume (NOISE_SIZE, NOISE_SIZE, NOISE_SIZE, 4) float32 of independent values in -1..1."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (NOISE_SIZE,) * 3 + (4,)).astype(np.float32)


@numba.njit(cache=True, fastmath=True)
def _noise(volume, x, y, z, out):
    """Trilinear look-up of the four channels at (x, y, z) in cells, with wrap-around, into `out` (4,)."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    tx, ty, tz = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
    x0, y0, z0 = int(fx) & (NOISE_SIZE - 1), int(fy) & (NOISE_SIZE - 1), int(fz) & (NOISE_SIZE - 1)
    x1, y1, z1 = (x0 + 1) & (NOISE_SIZE - 1), (y0 + 1) & (NOISE_SIZE - 1), (z0 + 1) & (NOISE_SIZE - 1)
    tx, ty, tz = tx * tx * (THREE - TWO * tx), ty * ty * (THREE - TWO * ty), tz * tz * (THREE - TWO * tz)
    for k in range(4):
        near = (volume[x0, y0, z0, k] * (ONE - tx) + volume[x1, y0, z0, k] * tx) * (ONE - ty) + (
            volume[x0, y1, z0, k] * (ONE - tx) + volume[x1, y1, z0, k] * tx
        ) * ty
        far = (volume[x0, y0, z1, k] * (ONE - tx) + volume[x1, y0, z1, k] * tx) * (ONE - ty) + (
            volume[x0, y1, z1, k] * (ONE - tx) + volume[x1, y1, z1, k] * tx
        ) * ty
        out[k] = near * (ONE - tz) + far * tz


@numba.njit(cache=True, fastmath=True)
def _hash(x, y, z):
    """A number in 0..1 that looks random and is the same for the same three."""
    value = np.sin(x * np.float32(12.9898) + y * np.float32(78.233) + z * np.float32(37.719)) * np.float32(43758.547)
    return value - np.floor(value)


@numba.njit(cache=True, fastmath=True)
def _pattern_share(row, x, y, z, noise_value):
    """Which colour is at the object position (x, y, z) in metres: 0 first, 1 second, 2 third, or between."""
    pattern = int(row[m.COLUMN_PATTERN])
    along = x * row[m.COLUMN_FLUSH] + y * row[m.COLUMN_FLUSH + 1] + z * row[m.COLUMN_FLUSH + 2]
    frequency, duty = row[m.COLUMN_FREQUENCY], row[m.COLUMN_DUTY]
    if pattern == m.PATTERN_NOISE:
        return min(max(np.float32(0.5) + np.float32(1.2) * noise_value, ZERO), ONE)
    if pattern == m.PATTERN_STRIPES:
        phase = along * frequency
        return ONE if phase - np.floor(phase) < duty else ZERO
    if pattern == m.PATTERN_CHECKER:
        cells = int(np.floor(x * frequency)) + int(np.floor(y * frequency)) + int(np.floor(z * frequency))
        return np.float32(cells & 1)
    if pattern == m.PATTERN_LABEL:
        if abs(along) > duty:
            return ZERO
        return ONE if noise_value < 0.25 else np.float32(0.2)
    if pattern == m.PATTERN_GRAIN:
        phase = along * frequency + np.float32(2.5) * noise_value
        return np.float32(0.5) + np.float32(0.5) * np.sin(phase * np.float32(6.2831853))
    if pattern == m.PATTERN_PRINT:
        across = x * row[m.COLUMN_FLUSH + 1] + y * row[m.COLUMN_FLUSH + 2] + z * row[m.COLUMN_FLUSH]
        line = np.floor(along * frequency)
        if _hash(np.floor(line / THREE), np.floor(across * frequency * np.float32(0.12)), row[m.COLUMN_OFFSET]) < 0.3:
            return TWO if noise_value > -0.15 else ONE  # a picture
        if along * frequency - line > np.float32(0.55):
            return ZERO
        word = np.floor(across * frequency * np.float32(0.35) + np.float32(3) * _hash(line, ZERO, duty))
        if _hash(line, word, duty) < 0.35:
            return ZERO
        stroke = np.floor(across * frequency * THREE)
        return ONE if _hash(line, stroke, duty) < 0.7 else ZERO
    if pattern == m.PATTERN_BLOCKS:
        cell = np.floor(x * frequency * np.float32(0.4)) + np.float32(7) * np.floor(z * frequency * np.float32(0.3))
        value = _hash(np.floor(y * frequency * np.float32(0.3)), cell, row[m.COLUMN_OFFSET])
        return ZERO if value < duty else (ONE if value < np.float32(0.5) + np.float32(0.5) * duty else TWO)
    return ZERO


@numba.njit(cache=True, fastmath=True)
def _light_share(shadow_maps, light, to_shadow, x, y, z):
    """Share of `light` that reaches (x, y, z): percentage-closer filtering with fractional weights at the
    edges.

    The key light (number 0) is filtered over three texels, the others, whose maps are coarser, over one.
    """
    u = to_shadow[light, 0, 0] * x + to_shadow[light, 0, 1] * y + to_shadow[light, 0, 2] * z + to_shadow[light, 0, 3]
    v = to_shadow[light, 1, 0] * x + to_shadow[light, 1, 1] * y + to_shadow[light, 1, 2] * z + to_shadow[light, 1, 3]
    height = (
        to_shadow[light, 2, 0] * x + to_shadow[light, 2, 1] * y + to_shadow[light, 2, 2] * z + to_shadow[light, 2, 3]
    )
    size = shadow_maps.shape[1]
    width = 3 if light == 0 else 1
    u, v = u - np.float32(0.5) * width, v - np.float32(0.5) * width
    if u < 0 or v < 0 or u >= size - width - 1 or v >= size - width - 1:
        return ONE
    column, row = int(u), int(v)
    share_u, share_v = u - column, v - row
    lit = ZERO
    for i in range(width + 1):
        weight_v = ONE - share_v if i == 0 else (share_v if i == width else ONE)
        texels = shadow_maps[light, row + i]
        for j in range(width + 1):
            if texels[column + j] < height:
                lit += weight_v * (ONE - share_u if j == 0 else (share_u if j == width else ONE))
    return lit / (width * width)


@numba.njit(cache=True, fastmath=True)
def _surface(face, px, py, screen, faces, points, normals, rest, attributes, out):
    """Perspective-correct interpolation at pixel (px, py): position, normal, rest position, attributes."""
    a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
    xa, ya, xb, yb, xc, yc = (
        screen[a, 0],
        screen[a, 1],
        screen[b, 0],
        screen[b, 1],
        screen[c, 0],
        screen[c, 1],
    )
    scale = ONE / ((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya))
    wb = ((px - xa) * (yc - ya) - (xc - xa) * (py - ya)) * scale
    wc = ((xb - xa) * (py - ya) - (px - xa) * (yb - ya)) * scale
    wb = min(max(wb, ZERO), ONE)
    wc = min(max(wc, ZERO), ONE - wb)
    qa, qb, qc = (ONE - wb - wc) * screen[a, 2], wb * screen[b, 2], wc * screen[c, 2]
    total = ONE / (qa + qb + qc)
    qa, qb, qc = qa * total, qb * total, qc * total
    for k in range(3):
        out[k] = qa * points[a, k] + qb * points[b, k] + qc * points[c, k]
        out[3 + k] = qa * normals[a, k] + qb * normals[b, k] + qc * normals[c, k]
        out[6 + k] = qa * rest[a, k] + qb * rest[b, k] + qc * rest[c, k]
    for k in range(NUM_ATTRIBUTES):
        out[9 + k] = qa * attributes[a, k] + qb * attributes[b, k] + qc * attributes[c, k]


@numba.njit(cache=True, fastmath=True)
def _albedo(row, surface, fine, blotch, out):
    """Linear albedo (3,), then roughness and specular reflectance, into `out` (5,)."""
    out[3], out[4] = row[m.COLUMN_ROUGHNESS], row[m.COLUMN_SPECULAR]
    texture = (ONE + row[m.COLUMN_FINE_AMOUNT] * fine[3]) * (ONE + row[m.COLUMN_BLOTCH_AMOUNT] * blotch[3])
    if row[m.COLUMN_KIND] == m.KIND_SKIN:
        palm = min(max(surface[9 + ATTRIBUTE_PALM] + np.float32(0.25) * blotch[2], ZERO), ONE)
        nail = min(max((surface[9 + ATTRIBUTE_NAIL] - np.float32(0.4)) * np.float32(5), ZERO), ONE)
        flush = min(max(surface[9 + ATTRIBUTE_FLUSH] + np.float32(0.5) * blotch[1], ZERO), ONE)
        crease_distance = (surface[9 + ATTRIBUTE_CREASE] + np.float32(0.0006) * fine[0]) / np.float32(0.0011)
        crease = ONE
        if crease_distance < 3:
            crease -= row[m.COLUMN_CREASE] * np.exp(-crease_distance * crease_distance)
        vein = ZERO
        if row[m.COLUMN_VEIN] > 0:  # where coarse noise passes through zero, lines run and branch
            across = blotch[0] / VEIN_WIDTH
            vein = row[m.COLUMN_VEIN] * np.exp(-across * across) * (ONE - palm) * (ONE - flush)
        for k in range(3):
            skin = row[m.COLUMN_BASE + k] * (ONE - palm) + row[m.COLUMN_SECOND + k] * palm
            dims = np.float32(0.38) if k == 0 else (np.float32(0.2) if k == 1 else np.float32(0.14))
            skin *= (ONE + (row[m.COLUMN_FLUSH + k] - ONE) * flush) * texture * crease * (ONE - dims * vein)
            out[k] = skin * (ONE - nail) + row[m.COLUMN_ACCENT + k] * nail
        out[3] += nail * (np.float32(0.28) - out[3])
        return
    share = _pattern_share(
        row, surface[6], surface[7], surface[8], np.float32(0.65) * blotch[0] + np.float32(0.35) * fine[0]
    )
    first, second = m.COLUMN_BASE, m.COLUMN_SECOND
    if share > ONE:
        first, second, share = m.COLUMN_SECOND, m.COLUMN_ACCENT, share - ONE
    for k in range(3):
        out[k] = (row[first + k] * (ONE - share) + row[second + k] * share) * texture


@numba.njit(cache=True, fastmath=True)
def _shade(row, surface, volume, lights, light_colors, shadow_maps, to_shadow, ambient, scratch, color):
    """Outgoing radiance (3,) of one surface point toward the camera at the origin, into `color`."""
    fine, blotch, albedo = scratch[0], scratch[1], scratch[2]
    frequency = row[m.COLUMN_FREQUENCY]
    # turned, so that the cells of the noise lie along no edge of an object
    rest_x = np.float32(0.48) * surface[6] + np.float32(0.64) * surface[7] + np.float32(0.60) * surface[8]
    rest_y = np.float32(0.80) * surface[6] - np.float32(0.60) * surface[7]
    rest_z = np.float32(0.36) * surface[6] + np.float32(0.48) * surface[7] - np.float32(0.80) * surface[8]
    ox, oy, oz = row[m.COLUMN_OFFSET], row[m.COLUMN_OFFSET + 1], row[m.COLUMN_OFFSET + 2]
    _noise(volume, rest_x * frequency + ox, rest_y * frequency + oy, rest_z * frequency + oz, fine)
    frequency = row[m.COLUMN_BLOTCH_FREQUENCY]
    _noise(volume, rest_x * frequency + oy, rest_y * frequency + oz, rest_z * frequency + ox, blotch)
    _albedo(row, surface, fine, blotch, albedo)
    bump = row[m.COLUMN_BUMP]
    nx, ny, nz = surface[3] + bump * fine[0], surface[4] + bump * fine[1], surface[5] + bump * fine[2]
    inverse = ONE / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    px, py, pz = surface[0], surface[1], surface[2]
    inverse = np.float32(-1) / np.sqrt(px * px + py * py + pz * pz)
    vx, vy, vz = px * inverse, py * inverse, pz * inverse
    n_dot_v = max(nx * vx + ny * vy + nz * vz, np.float32(0.12))
    scatter = row[m.COLUMN_SCATTER]
    above = np.float32(0.5) - np.float32(0.5) * (nx * ambient[2, 0] + ny * ambient[2, 1] + nz * ambient[2, 2])
    color[:] = ZERO
    unblocked, around = ZERO, np.float32(1e-6)
    alpha2 = albedo[3] ** 4
    geometry = albedo[3] * albedo[3] * np.float32(0.5)
    for light in range(lights.shape[0]):
        lx, ly, lz = lights[light, 0], lights[light, 1], lights[light, 2]
        n_dot_l = nx * lx + ny * ly + nz * lz
        if n_dot_l < -0.45:
            continue
        share = _light_share(
            shadow_maps,
            light,
            to_shadow,
            px + np.float32(0.002) * surface[3],
            py + np.float32(0.002) * surface[4],
            pz + np.float32(0.002) * surface[5],
        )
        facing = max(n_dot_l, ZERO)
        unblocked += (facing + np.float32(0.1)) * share
        around += facing + np.float32(0.1)
        highlight = ZERO
        if facing > 0 and share > 0:
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            inverse = ONE / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
            n_dot_h = max((nx * hx + ny * hy + nz * hz) * inverse, ZERO)
            l_dot_h = max((lx * hx + ly * hy + lz * hz) * inverse, ZERO)
            spread = n_dot_h * n_dot_h * (alpha2 - ONE) + ONE
            distribution = alpha2 / (np.float32(3.1415927) * spread * spread)
            grazing = ONE - l_dot_h
            fresnel = albedo[4] + (ONE - albedo[4]) * grazing * grazing * grazing * grazing * grazing
            shadowing = np.float32(0.25) / (
                (n_dot_v * (ONE - geometry) + geometry) * (facing * (ONE - geometry) + geometry)
            )
            highlight = share * facing * distribution * fresnel * shadowing
        for k in range(3):
            wrap = scatter * (np.float32(0.40) if k == 0 else (np.float32(0.18) if k == 1 else np.float32(0.12)))
            diffuse = max((n_dot_l + wrap) / (ONE + wrap), ZERO)
            diffuse *= ONE - scatter * (ONE - diffuse) * np.float32(0.35)
            reach = share
            if k == 0:
                reach = share + scatter * np.float32(0.6) * share * (ONE - share)
            color[k] += light_colors[light, k] * (albedo[k] * diffuse * reach + highlight)
    # where most lights are blocked, as between fingers, little ambient light arrives either
    openness = np.float32(0.3) + np.float32(0.7) * unblocked / around
    for k in range(3):
        color[k] += openness * albedo[k] * (ambient[0, k] * (ONE - above) + ambient[1, k] * above)


@numba.njit(cache=True, fastmath=True)
def shade_image(
    background,
    face_ids,
    inverse_depth,
    screen,
    faces,
    face_objects,
    points,
    normals,
    rest,
    attributes,
    table,
    volume,
    lights,
    light_colors,
    shadow_maps,
    to_shadow,
    ambient,
):
    """Shade a supersampled visibility buffer over `background`; returns (H, W, 3) float32 sRGB-like 0..1.

    background (H, W, 3) float32 0..1; face_ids, inverse_depth (2H, 2W); screen (V, 3) at the supersampled
    scale; face_objects (F,) row of `table` (objects, NUM_COLUMNS); points, normals, rest (V, 3); attributes
    (V, NUM_ATTRIBUTES); lights (L, 3) unit directions toward the light with light_colors (L, 3) and
    shadow_maps (L, S, S) read through to_shadow (L, 3, 4); ambient (3, 3): from below, from above, and the
    direction that counts as down. A pixel whose four samples lie on one smooth piece is shaded once.
    """
    height, width = background.shape[:2]
    image = background.copy()
    surface = np.empty(9 + NUM_ATTRIBUTES, np.float32)
    scratch = np.empty((3, 5), np.float32)
    color = np.empty(3, np.float32)
    for y in range(height):
        for x in range(width):
            drawn, same = 0, True
            first = face_ids[2 * y, 2 * x]
            nearest, farthest = ZERO, np.float32(1e9)
            for sample in range(4):
                row, column = 2 * y + (sample >> 1), 2 * x + (sample & 1)
                face = face_ids[row, column]
                if face < 0:
                    same = False
                    continue
                drawn += 1
                nearest, farthest = (
                    max(nearest, inverse_depth[row, column]),
                    min(farthest, inverse_depth[row, column]),
                )
                if first < 0 or face_objects[face] != face_objects[first]:
                    same = False
            if drawn == 0:
                continue
            if same and nearest - farthest > np.float32(0.02) * nearest:
                same = False
            image[y, x] *= ONE - drawn * np.float32(0.25)
            for sample in range(1 if same else 4):
                face = face_ids[2 * y + (sample >> 1), 2 * x + (sample & 1)]
                if face < 0:
                    continue
                px = np.float32(2 * x + 1) if same else np.float32(2 * x + (sample & 1) + 0.5)
                py = np.float32(2 * y + 1) if same else np.float32(2 * y + (sample >> 1) + 0.5)
                _surface(face, px, py, screen, faces, points, normals, rest, attributes, surface)
                row_of_table = table[face_objects[face]]
                _shade(
                    row_of_table,
                    surface,
                    volume,
                    lights,
                    light_colors,
                    shadow_maps,
                    to_shadow,
                    ambient,
                    scratch,
                    color,
                )
                weight = ONE if same else np.float32(0.25)
                for k in range(3):
                    image[y, x, k] += weight * tone_curve(color[k])
    return image


@numba.njit(cache=True, fastmath=True)
def tone_curve(radiance):
    """A film-like curve: linear light to display values 0..1, with a soft shoulder, then the power 1 /
    2.2."""
    value = radiance * (ONE + radiance * np.float32(0.12)) / (np.float32(0.9) + radiance * np.float32(0.45))
    root = np.sqrt(min(max(value, ZERO), ONE))
    return _ROOT_TO_DISPLAY[int(root * np.float32(1023) + np.float32(0.5))]
