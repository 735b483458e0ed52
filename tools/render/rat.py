"""The rat: walks, rears, grooms, sniffs, looks around in a round arena seen by six cameras."""

import numpy as np
from scipy.spatial.transform import Rotation

from render.clip import Clip, Joint, Look
from render.ik import Face, Puppet, Reach, smooth
from render.plan import Gait, Habits, best_plan, footfalls
from render.rig import look_at
from render.scene import rat_scene

FPS = 30
UNITS = 1220.0  # mm per model unit: a rat of about 250 mm

HABITS = Habits(
    radius=0.145,
    speeds=(0.10, 0.26),
    walk=(0.8, 2.0),
    nimble=2.6,
    ramp=0.45,
    acts={
        "rear": (4, 0.9, 2.2),
        "sniff": (2, 0.5, 1.2),
        "groom": (2, 1.0, 1.9),
        "look": (2, 0.3, 0.9),
        "pause": (1, 0.1, 0.4),
    },
)

# Feet: hind left, hind right, fore left, fore right.
GAIT = Gait(
    feet=np.array([[-0.044, 0.030], [-0.044, -0.030], [0.040, 0.026], [0.040, -0.026]]),
    lag=np.array([0.0, 0.5, 0.56, 0.06]),
    duty=0.62,
    stride=(0.055, 0.14),
    spin=0.045,
    settle=1.6,
)

ROOM = 0.266  # m: the arena's wall stops the tail there
TAIL_SLACK = np.array([0.010, 0.010, 0.002])  # m: lying on the floor matters more than where
HEIGHT = 0.060  # of the torso's origin above the floor
PAWS = ("toe_L", "toe_R", "finger_L", "finger_R")
PAW_SITES = ("sole_L", "sole_R", "palm_L", "palm_R")

JOINTS = (
    Joint("snout", "skull", (0.037, 0, -0.0085), "head"),
    Joint("head", "skull", (0.008, 0, 0.002), "neck"),
    Joint("neck", "vertebra_cervical_2", (0, 0, 0), "thorax"),
    Joint("thorax", "torso", (0.0, 0, 0.0)),
    Joint("spine", "vertebra_3", (0, 0, 0), "thorax"),
    Joint("pelvis", "pelvis", (0, 0, 0), "spine"),
    Joint("tail_base", "vertebra_C3", (0, 0, 0), "pelvis"),
    Joint("tail_mid", "vertebra_C14", (0, 0, 0), "tail_base"),
    Joint("tail_tip", "vertebra_C26", (0, 0, 0), "tail_mid"),
) + tuple(
    joint
    for side, mark in (("left", "L"), ("right", "R"))
    for joint in (
        Joint(f"{side}_shoulder", f"upper_arm_{mark}", (0, 0, 0), "thorax"),
        Joint(f"{side}_elbow", f"lower_arm_{mark}", (0, 0, 0), f"{side}_shoulder"),
        Joint(f"{side}_wrist", f"hand_{mark}", (0, 0, 0), f"{side}_elbow"),
        Joint(f"{side}_knee", f"lower_leg_{mark}", (0, 0, 0), "pelvis"),
        Joint(f"{side}_ankle", f"foot_{mark}", (0, 0, 0), f"{side}_knee"),
    )
)


def cameras(size):
    """Six cameras around the arena, three low and three high."""
    rig = []
    lenses = [
        (-0.19, 0.035),
        (-0.16, 0.02),
        (-0.21, 0.045),
        (-0.14, 0.02),
        (-0.18, 0.03),
        (-0.2, 0.04),
    ]
    for k, (k1, k2) in enumerate(lenses):
        angle = np.radians(60 * k + [8, -6, 4, -9, 3, 10][k])
        reach, height = (640, 430) if k % 2 == 0 else (470, 660)
        eye = [reach * np.cos(angle), reach * np.sin(angle), height + 15 * k]
        bend = (k1, k2, 0.0006 * (-1) ** k, -0.0005 + 0.0002 * k, 0.0)
        rig.append(
            look_at(
                f"cam{k + 1}",
                eye,
                [4 * k - 10, 6 - 3 * k, 25],
                1.26,
                size,
                bend,
                roll=[1.5, -2, 0.5, 2.2, -1, -0.6][k],
                shift=(0.006 * k - 0.015, 0.008 - 0.003 * k),
            )
        )
    return rig


LOOKS = {
    "cam1": Look((1.02, 1.00, 0.97)),
    "cam2": Look((0.96, 1.00, 1.05)),
    "cam3": Look((1.10, 1.08, 1.06)),
    "cam4": Look((0.93, 0.92, 0.90)),
    "cam5": Look((1.03, 0.99, 1.02)),
    "cam6": Look((1.00, 1.03, 1.07)),
}


def animate(model, frames, rng, deck=None):
    """Poses (T, nq) and the acts' levels; `deck`: cards of some acts instead of all."""
    plan = best_plan(HABITS.dealt(deck), frames, FPS, rng)
    steps = footfalls(plan, GAIT, FPS)
    rat = Rat(model, plan)
    poses = [rat.pose(plan, steps, t) for t in range(frames)]
    walk = plan.speed > 0.04
    return smooth(np.array(poses), 0.7), {"walk": walk.astype(float), **plan.acts}


class Rat:
    """Turns the plan and the footfalls into tasks for the puppet, frame by frame."""

    def __init__(self, model, plan):
        self.puppet = puppet = Puppet(model)
        self.ids = {model.body(k).name: k for k in range(model.nbody)}
        self.upright = {b: puppet.turn(self.ids[b]) for b in ("torso", "pelvis", "skull", *PAWS)}
        self.paws = [(self.ids[b], model.site(s).pos.copy()) for b, s in zip(PAWS, PAW_SITES)]
        self.reach = np.linalg.norm(
            puppet.place(self.ids["pelvis"]) - puppet.place(self.ids["torso"])
        )
        self.tail = [self.ids[f"vertebra_C{k}"] for k in (5, 9, 13, 17, 21, 25, 29)]
        places = [puppet.place(self.ids["vertebra_C2"])] + [puppet.place(b) for b in self.tail]
        self.links = np.linalg.norm(np.diff(places, axis=0), axis=1)
        self.trail = None  # (7, 2) m: where the tail lies
        self._stiffness(model)
        puppet.stand(plan.position[0], HEIGHT, plan.heading[0])

    def _stiffness(self, model):
        """Rest pose and how freely each joint leaves it."""
        puppet = self.puppet
        puppet.slack[:] = 0.5
        for k in range(model.njnt - 1):
            name = model.joint(k + 1).name
            if "vertebra_C" in name:
                puppet.slack[k] = 0.8
            elif "vertebra" in name:
                puppet.slack[k] = 0.3
        for name in ("mandible",):
            puppet.rest[puppet.hinge(name)] = model.joint(name).range[0]
            puppet.slack[puppet.hinge(name)] = 0.02

    def pose(self, plan, steps, t):
        """The pose (nq,) of frame t."""
        level = {name: values[t] for name, values in plan.acts.items()}
        trait = {name: values[t] for name, values in plan.traits.items()}
        rise = level["rear"] * (0.85 + 0.15 * trait["rear"]) + 0.62 * level["groom"]
        tasks = self.trunk(plan, steps, t, rise, level)
        tasks += self.head(plan, t, rise, level, trait)
        tasks += self.feet(steps, t, level, rise)
        tasks += self.drag(t)
        return self.puppet.solve(tasks, rounds=60 if t == 0 else 5)

    def trunk(self, plan, steps, t, rise, level):
        """Where torso and pelvis go: a walk's sway and bob, or up about the hips."""
        last = len(plan.heading) - 1
        yaw, later = plan.heading[t], plan.heading[min(t + 3, last)]
        before = plan.heading[max(t - 4, 0)]
        beat, effort = 2 * np.pi * steps.phase[t], steps.effort[t]
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0])
        aside = np.array([-ahead[1], ahead[0], 0])
        down = np.array([0, 0, 1.0])
        torso = np.array([*plan.position[t], HEIGHT - 0.010 * level["sniff"]])
        torso = torso + effort * (0.0025 * np.sin(beat) * aside + 0.0015 * np.cos(2 * beat) * down)
        angle = np.radians(68) * rise
        hips = torso + ahead * (-self.reach + 0.010 * rise) - down * 0.008 * rise
        lift = np.cos(angle) * ahead + np.sin(angle) * down
        torso = (1 - min(1, 4 * rise)) * torso + min(1, 4 * rise) * (
            hips + self.reach * 0.97 * lift
        )
        roll = 0.06 * effort * np.sin(beat)
        pitch = 0.10 * level["sniff"]
        ids = self.ids
        return [
            Reach(ids["torso"], np.zeros(3), torso, 0.004),
            Reach(ids["pelvis"], np.zeros(3), hips, 0.004),
            Face(ids["torso"], attitude(later, pitch - angle, roll) @ self.upright["torso"], 0.12),
            Face(
                ids["pelvis"], attitude(before, -0.75 * angle, -roll) @ self.upright["pelvis"], 0.15
            ),
        ]

    def head(self, plan, t, rise, level, trait):
        """The head leads into turns, scans, sniffs, and bows to the paws when grooming."""
        last = len(plan.heading) - 1
        lead = np.clip(plan.heading[min(t + 9, last)] - plan.heading[t], -0.7, 0.7)
        seconds = t / FPS
        scan = 0.16 * np.sin(2.1 * seconds) + 0.10 * np.sin(5.3 * seconds + 1)
        scan += level["rear"] * (0.45 * np.sin(3.0 * seconds) + 0.3 * trait["rear"])
        scan += level["look"] * 0.95 * np.sign(trait["look"]) * (0.6 + 0.4 * abs(trait["look"]))
        scan += level["sniff"] * 0.35 * np.sin(4.2 * seconds)
        nod = 0.12 + 0.05 * np.sin(2 * np.pi * 4.6 * seconds)  # whisking and sniffing
        nod += 0.45 * level["sniff"] - 0.30 * level["rear"] + 0.75 * level["groom"]
        nod += level["groom"] * 0.12 * np.sin(2 * np.pi * 3.1 * seconds)
        goal = attitude(plan.heading[t] + lead + scan, nod, 0.25 * level["look"] * trait["look"])
        return [Face(self.ids["skull"], goal @ self.upright["skull"], 0.15)]

    def feet(self, steps, t, level, rise):
        """Paws on their footholds; the fore paws at the chest or the snout when risen."""
        tasks = []
        chest = self.puppet.turn(self.ids["torso"]) @ self.upright["torso"].T
        base = self.puppet.place(self.ids["torso"])
        up = float(np.clip(2.2 * rise, 0, 1))
        for leg, (body, point) in enumerate(self.paws):
            arc = np.sin(np.pi * steps.swing[t, leg]) ** 2
            goal = np.array([*steps.position[t, leg], 0.006 + (0.013 if leg < 2 else 0.015) * arc])
            if leg >= 2:
                side = 1 if leg == 2 else -1
                held = base + chest @ self.held(t, side, level)
                goal = goal + up * (held - goal)
            tasks.append(Reach(body, point, goal, 0.0012 if up == 0 or leg < 2 else 0.004))
            level_paw = attitude(steps.heading[t, leg], 0, 0) @ self.upright[PAWS[leg]]
            if leg < 2:
                tasks.append(Face(body, level_paw, 0.12))
                heel = goal - 0.031 * np.array([*unit(steps.heading[t, leg]), 0])
                heel[2] = 0.0085 + 0.016 * arc + 0.004 * rise
                tasks.append(
                    Reach(self.ids["foot_L" if leg == 0 else "foot_R"], np.zeros(3), heel, 0.004)
                )
        return tasks

    def held(self, t, side, level):
        """A lifted fore paw's place (3,) relative to the torso, in the chest's frame."""
        stroke = 2 * np.pi * 3.1 * t / FPS
        idle = np.array([0.052, 0.016 * side, -0.036 + 0.003 * np.sin(0.8 * stroke + side)])
        wash = np.array(
            [0.085 + 0.008 * np.cos(stroke), 0.013 * side, -0.034 + 0.012 * np.sin(stroke)]
        )
        return idle + level["groom"] * (wash - idle)

    def drag(self, t):
        """The tail follows like a rope that is dragged over the floor, with slow waves."""
        base = self.puppet.place(self.ids["vertebra_C2"])
        back = -self.puppet.turn(self.ids["pelvis"])[:, 0]
        flat = direction(back[:2])
        if self.trail is None:
            self.trail = base[:2] + np.cumsum(self.links)[:, None] * flat
        tasks, point, along = [], base[:2], flat
        wave = 0.22 * np.sin(1.7 * t / FPS - 0.9 * np.arange(len(self.tail)))
        drop = np.array((0.45, 0.12, 0, 0, 0, 0, 0)) * max(0, base[2] - 0.008) + 0.008
        flat_links = np.sqrt(
            np.maximum(self.links**2 - np.diff(drop, prepend=base[2]) ** 2, 0.1 * self.links**2)
        )
        for k, (body, link) in enumerate(zip(self.tail, flat_links)):
            stiff = 0.75 if k == 0 else 0.45
            wish = (1 - stiff) * direction(self.trail[k] - point) + stiff * turned(along, wave[k])
            along = clear(point, along, wish, link, 0.55 if k == 0 else 0.34)
            point = point + link * along
            self.trail[k] = 0.5 * (self.trail[k] + point)
            tasks.append(Reach(body, np.zeros(3), np.array([*self.trail[k], drop[k]]), TAIL_SLACK))
        return tasks


def attitude(yaw, pitch, roll):
    """Rotation (3, 3) by heading, nose-down pitch and roll (rad)."""
    return Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix()


def clear(point, along, wish, link, bend):
    """The tail's next direction (2,): near `wish`, within `bend` rad of `along`, off the wall."""
    angles = np.linspace(-bend, bend, 23)
    ways = np.stack([turned(along, angle) for angle in angles])
    # Looking 2.5 links ahead, it turns aside early enough for its stiffness.
    beyond = np.linalg.norm(point + 2.5 * link * ways, axis=1) - ROOM
    cost = ((ways - direction(wish)) ** 2).sum(1) + 1e4 * np.maximum(0, beyond) ** 2
    return ways[np.argmin(cost)]


def turned(vector, angle):
    """A vector (2,) turned by an angle (rad)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def direction(vector):
    """A vector's unit vector."""
    return vector / max(1e-6, np.linalg.norm(vector))


def unit(angle):
    """(cos, sin)."""
    return np.array([np.cos(angle), np.sin(angle)])


RAT = Clip(
    name="rat",
    fps=FPS,
    seconds={"train": 36, "test": 12},
    units=UNITS,
    joints=JOINTS,
    length=lambda at: np.linalg.norm(at["snout"] - at["tail_base"]),
    scene=lambda side: rat_scene(side, UNITS),
    cameras=cameras,
    animate=animate,
    looks=LOOKS,
    crf=23,
)
