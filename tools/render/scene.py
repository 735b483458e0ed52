"""The animals' models and the rooms they live in: colours, textures, lights."""

from pathlib import Path

import dm_control.locomotion.walkers
import mujoco
import numpy as np
from scipy.ndimage import gaussian_filter

ASSETS = Path(dm_control.locomotion.walkers.__file__).parent / "assets"
GEOM = mujoco.mjtGeom
SHOWN = (0, 1)  # geom groups that are rendered
HIDDEN = 5


def open_model(name, root):
    """A walker's spec with a free root, without its cameras and lights, hidden geoms in HIDDEN."""
    spec = mujoco.MjSpec.from_file(str(ASSETS / name))
    for thing in [*spec.lights, *spec.cameras, *spec.actuators, *spec.sensors]:
        spec.delete(thing)
    spec.body(root).add_freejoint()
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    return spec


def quality(spec, side, shadow=2048, extent=1.0):
    """Set up the off-screen buffer (px) and soft light; `extent` is the scene's size in m."""
    spec.visual.global_.offwidth = spec.visual.global_.offheight = side
    spec.visual.quality.shadowsize = shadow
    spec.visual.quality.offsamples = 0  # the lens averages many samples anyway
    spec.visual.headlight.ambient = [0.34] * 3
    spec.visual.headlight.diffuse = [0.10] * 3
    spec.visual.headlight.specular = [0] * 3
    sky = spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384
    )
    sky.builtin, sky.rgb1, sky.rgb2 = (
        mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        [0.16, 0.18, 0.21],
        [0.16, 0.18, 0.21],
    )
    spec.stat.extent = extent
    spec.stat.center = [0, 0, 0]
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 20


def lamp(spec, place, aim, power, cutoff=45.0, shadow=False):
    """A spot light at `place` towards `aim` (m)."""
    place, aim = np.asarray(place, float), np.asarray(aim, float)
    spec.worldbody.add_light(
        pos=place,
        dir=aim - place,
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        castshadow=shadow,
        cutoff=cutoff,
        exponent=1.0,
        diffuse=[power] * 3,
        specular=[0.05] * 3,
        ambient=[0.0] * 3,
    )


def add_texture(spec, name, image, repeat=(1, 1), uniform=False):
    """A matt material `name` from an image (H, W, 3) in 0..1."""
    pixels = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    texture = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        nchannel=3,
        height=pixels.shape[0],
        width=pixels.shape[1],
    )
    texture.data = pixels.tobytes()
    material = spec.add_material(
        name=name,
        texrepeat=repeat,
        texuniform=uniform,
        reflectance=0,
        specular=0.05,
        shininess=0.05,
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def repaint(spec, look):
    """Other colours by chance, a number for each choice of them; equal ones stay equal."""
    rng, known = np.random.default_rng(look), {}
    for thing in [*spec.geoms, *spec.materials]:
        old = tuple(np.round(thing.rgba[:3], 3))
        drawn = known.setdefault(old, rng.uniform(0, 1, 3))
        thing.rgba = [*(0.6 * np.array(old) + 0.4 * drawn), thing.rgba[3]]


def cloud(rng, side, scales):
    """Periodic noise (side, side) of unit deviation, a sum over blob sizes in pixels."""
    total = 0
    for scale in scales:
        layer = gaussian_filter(rng.normal(size=(side, side)), scale, mode="wrap")
        total = total + layer / layer.std()
    return total / total.std()


def tint(colour, light, spread):
    """An image (H, W, 3): `colour` lightened and darkened by `light` (H, W) times `spread`."""
    return np.asarray(colour)[None, None] * (1 + spread * light[..., None])


# ---------------------------------------------------------------- rat


def rat_scene(side, units):
    """The rodent in a round arena; `units` is mm per model unit."""
    rng = np.random.default_rng(7)
    spec = open_model("rodent.xml", "torso")
    quality(spec, side, extent=0.5)
    for geom in spec.geoms:
        geom.group = HIDDEN if geom.group == 2 else 1
        if "_T" in geom.name:  # teeth: inside the closed mouth
            geom.group = HIDDEN
    for joint in spec.joints:
        if "vertebra_C" in joint.name:  # a living rat's tail is more supple than the model's
            joint.range = np.array(joint.range) * 1.7
    hooded_fur(spec, rng)
    arena(spec, rng, units)
    lamp(spec, [0.45, 0.30, 0.95], [0, 0, 0], 0.55, shadow=True)
    lamp(spec, [-0.40, 0.20, 0.95], [0, 0, 0], 0.36)
    lamp(spec, [-0.05, -0.55, 0.95], [0, 0, 0], 0.36)
    return spec


def arena(spec, rng, units, side=2048, reach=1500.0, radius=345.0):
    """A round box with bedding on a dark bench; `reach` is half the bench, both in mm."""
    grid = (np.arange(side) + 0.5) / side * 2 * reach - reach
    x, y = np.meshgrid(grid, grid)
    light = 0.6 * cloud(rng, side, [0.8, 2.0]) + 0.5 * cloud(rng, side, [10, 30])
    bedding = tint([0.47, 0.42, 0.34], light, 0.13)
    bench = tint([0.22, 0.25, 0.29], cloud(rng, side, [2, 30]), 0.12)
    inside = (np.hypot(x, y) < radius)[..., None]
    add_texture(spec, "floor", np.where(inside, bedding, bench))
    half = reach / units
    spec.worldbody.add_geom(type=GEOM.mjGEOM_PLANE, size=[half, half, 0.1], material="floor")
    planks = tint([0.36, 0.42, 0.45], cloud(rng, 128, [2, 12]), 0.10)
    add_texture(spec, "wall", planks)
    count = 40
    for k in range(count):
        angle = 2 * np.pi * k / count
        place = radius / units * np.array([np.cos(angle), np.sin(angle), 0])
        shade = 0.85 + 0.3 * rng.random() + 0.35 * (k % 10 == 3)
        spec.worldbody.add_geom(
            type=GEOM.mjGEOM_BOX,
            pos=place + [0, 0, 0.02],
            material="wall",
            size=[0.002, np.pi * radius / units / count * 1.02, 0.025],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
            rgba=[shade, shade, shade, 1],
        )


def hooded_fur(spec, rng):
    """Paint the skin like a hooded rat's: dark head, shoulders and back stripe; pink paws and tail.

    The skin file has no texture coordinates.  Here each vertex gets the coordinates of its own
    colour in a palette that runs from white to dark along u and from fur to bare skin along v.
    """
    skin = spec.skins[0]
    vertices, faces, bones = read_skin(ASSETS / skin.file)
    skin.file = ""
    skin.vert, skin.face = vertices.ravel().tolist(), faces.ravel().tolist()
    skin.bodyname = [bone[0] for bone in bones]
    skin.bindpos = np.concatenate([bone[1] for bone in bones]).tolist()
    skin.bindquat = np.concatenate([bone[2] for bone in bones]).tolist()
    skin.vertid = [bone[3].tolist() for bone in bones]
    skin.vertweight = [bone[4].tolist() for bone in bones]
    dark, bare = coat(vertices, bones, rng)
    skin.texcoord = (0.02 + 0.96 * np.stack([dark, bare], 1)).ravel().tolist()
    u, v = np.meshgrid(*[np.linspace(0, 1, 64)] * 2)
    fur = (1 - u[..., None]) * [0.86, 0.83, 0.77] + u[..., None] * [0.10, 0.085, 0.075]
    flesh = (1 - 0.25 * u[..., None]) * np.array([0.80, 0.56, 0.50])
    add_texture(spec, "fur", (1 - v[..., None]) * fur + v[..., None] * flesh)
    skin.material = "fur"
    skin.rgba = [1, 1, 1, 1]


def read_skin(path):
    """MuJoCo's .skn file: vertices (V, 3), faces (F, 3), bones (name, pos, quat, ids, weights)."""
    raw = Path(path).read_bytes()
    count, coordinates, faces, bones = np.frombuffer(raw, "<i4", 4)
    at = 16

    def take(kind, number):
        nonlocal at
        at += 4 * number
        return np.frombuffer(raw, kind, number, at - 4 * number)

    vertices = take("<f4", 3 * count).reshape(-1, 3)
    take("<f4", 2 * coordinates)
    triangles = take("<i4", 3 * faces).reshape(-1, 3)
    table = []
    for _ in range(bones):
        name = raw[at : at + 40].split(b"\0")[0].decode()
        at += 40
        place, turn = take("<f4", 3), take("<f4", 4)
        size = take("<i4", 1)[0]
        table.append((name, place, turn, take("<i4", size), take("<f4", size)))
    return vertices, triangles, table


def coat(vertices, bones, rng):
    """How dark the fur and how bare the skin of each vertex is, both (V,) in 0..1."""
    share = {name: np.zeros(len(vertices)) for name, *_ in bones}
    for name, _, _, ids, weights in bones:
        share[name][ids] = weights
    total = sum(share.values())

    def of(*parts):
        return sum(share[n] for n in share if any(p in n for p in parts)) / total

    x, y, z = vertices.T
    ripple = sum(np.sin(rng.uniform(60, 220, 3) @ vertices.T + rng.uniform(0, 6)) for _ in range(6))
    hood = sigmoid((x - 0.034 + 0.004 * ripple) / 0.003)
    stripe = (
        sigmoid((0.012 - np.abs(y + 0.002) + 0.003 * ripple) / 0.002) * (z > 0.07) * (x > -0.075)
    )
    # Markings differ from side to side, as on real animals.
    patch = sigmoid(
        (0.019 - np.linalg.norm(vertices - [-0.03, 0.035, 0.075], axis=1) + 0.002 * ripple) / 0.002
    )
    belly = sigmoid((0.042 - z) / 0.004) * sigmoid((0.062 - x) / 0.004)
    dark = np.clip(np.maximum.reduce([hood * (1 - belly), stripe, patch]), 0, 1)
    dark = np.clip(dark * (0.94 + 0.02 * ripple) + 0.015 * ripple, 0, 1)
    paws = of("hand", "finger", "foot", "toe")
    tail = of("vertebra_C") - of("vertebra_C1_", "vertebra_cervical")
    bare = np.maximum(paws, sigmoid((-0.066 - x) / 0.003) * tail)
    nose = sigmoid((x - 0.1515) / 0.001)
    return dark, np.clip(np.maximum(bare, nose), 0, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))
