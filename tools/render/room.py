"""The human's room and clothes."""

import numpy as np

from render.scene import GEOM, add_texture, cloud, lamp, open_model, quality, tint

# Sportswear in blocks of colour: who looks closely can tell left from right, as on many real
# jumpers and joggers.
SKIN, HAIR, SHOE = (0.84, 0.60, 0.47), (0.13, 0.08, 0.05), (0.93, 0.92, 0.88)
SHIRT, LEFT_SLEEVE, RIGHT_SLEEVE = (0.74, 0.13, 0.12), (0.93, 0.74, 0.16), (0.13, 0.48, 0.24)
LEFT_LEG, RIGHT_LEG = (0.11, 0.09, 0.11), (0.88, 0.42, 0.12)

# The first entry that a geom's name contains gives its colour.
CLOTHES = (
    ("foot", SHOE),
    ("toes", SHOE),
    ("ltibia", LEFT_LEG),
    ("lfemur", LEFT_LEG),
    ("lhipjoint", LEFT_LEG),
    ("rtibia", RIGHT_LEG),
    ("rfemur", RIGHT_LEG),
    ("rhipjoint", RIGHT_LEG),
    ("root", LEFT_LEG),
    ("lhumerus", LEFT_SLEEVE),
    ("lradius", LEFT_SLEEVE),
    ("rhumerus", RIGHT_SLEEVE),
    ("rradius", RIGHT_SLEEVE),
    ("clavicle", SHIRT),
    ("back", SHIRT),
    ("thorax", SHIRT),
    ("lowerneck", SHIRT),
)


def human_scene(side):
    """The CMU humanoid in everyday clothes in a room."""
    rng = np.random.default_rng(11)
    spec = open_model("humanoid_CMU_V2020.xml", "root")
    # The model is written y up and facing z: stand it up, facing x.
    spec.body("root").quat = [0.5, 0.5, 0.5, 0.5]
    quality(spec, side, extent=3.0)
    dress(spec)
    furnish(spec, rng)
    lamp(spec, [0.8, 0.5, 5.0], [0, 0, 0], 0.55, 52, shadow=True)
    lamp(spec, [-3.0, 0.8, 3.0], [0.5, 0, 0.6], 0.36, 75)
    lamp(spec, [2.0, -3.0, 3.0], [-0.5, 0.5, 0.6], 0.36, 75)
    return spec


def dress(spec):
    """Clothes' colours for the body's capsules, a few rounder shapes, and hair."""
    for geom in spec.geoms:
        geom.group, geom.material = 1, ""
        colour = next((c for part, c in CLOTHES if part in geom.name), SKIN)
        geom.rgba = [*colour, 1]
    # Filled-in shapes where the capsules leave a mannequin's gaps.
    padding = (
        ("thorax", (0, 0.06, 0.01), (0.165, 0.15, 0.105), SHIRT),
        ("upperback", (0, 0.03, 0.01), (0.150, 0.14, 0.105), SHIRT),
        ("lowerback", (0, 0.03, 0.0), (0.150, 0.12, 0.105), SHIRT),
        ("root", (0, -0.03, -0.02), (0.165, 0.11, 0.115), LEFT_LEG),
        ("head", (0, 0.075, -0.022), (0.105, 0.085, 0.108), HAIR),
    )
    for body, place, size, colour in padding:
        spec.body(body).add_geom(
            type=GEOM.mjGEOM_ELLIPSOID,
            pos=place,
            size=size,
            group=1,
            contype=0,
            conaffinity=0,
            rgba=[*colour, 1],
        )


def furnish(spec, rng, half=3.7, height=3.2):
    """Floor, four walls with panels, and a few things along the walls; lengths in m."""
    floor = tint([0.40, 0.45, 0.47], cloud(rng, 512, [1, 3]) + 0.8 * cloud(rng, 512, [30]), 0.09)
    add_texture(spec, "floor", floor, (3, 3))
    spec.worldbody.add_geom(type=GEOM.mjGEOM_PLANE, size=[half, half, 0.1], material="floor")
    wall = tint([0.46, 0.57, 0.66], cloud(rng, 512, [2]) * 0.4 + cloud(rng, 512, [24]), 0.06)
    wall[:, ::64] *= 0.75
    wall[400:, :] *= 0.72
    add_texture(spec, "wall", wall)
    for k in range(4):
        angle = k * np.pi / 2
        place = half * np.array([np.cos(angle), np.sin(angle)])
        spec.worldbody.add_geom(
            type=GEOM.mjGEOM_BOX,
            pos=[*place, height / 2],
            material="wall",
            size=[0.05, half, height / 2],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
        )
    things = (
        ((3.4, 0.9, 0.45), (0.25, 0.5, 0.45), (0.45, 0.33, 0.22)),
        ((-3.6, -0.6, 1.5), (0.06, 0.6, 0.4), (0.25, 0.38, 0.45)),
        ((0.7, 3.45, 0.95), (0.4, 0.2, 0.95), (0.38, 0.42, 0.36)),
        ((-1.2, -3.6, 1.5), (0.7, 0.06, 0.5), (0.55, 0.50, 0.35)),
    )
    for place, size, colour in things:
        spec.worldbody.add_geom(type=GEOM.mjGEOM_BOX, pos=place, size=size, rgba=[*colour, 1])
