"""The human: walks, bends, crouches, reaches, waves in a room seen by four cameras."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from render.clip import Clip, Joint, Look
from render.ik import Face, Puppet, Reach, smooth
from render.plan import Gait, Habits, best_plan, footfalls
from render.rat import attitude
from render.rig import look_at
from render.room import human_scene

FPS = 50
UNITS = 1000.0  # mm per model unit

HABITS = Habits(
    radius=1.00,
    speeds=(0.5, 1.2),
    walk=(0.9, 1.9),
    nimble=2.5,
    ramp=0.55,
    acts={
        "reach": (4, 2.0, 3.0),
        "raise": (2, 0.7, 1.2),
        "bend": (2, 0.7, 1.2),
        "crouch": (2, 0.7, 1.2),
        "wave": (1, 1.2, 1.7),
        "point": (1, 0.7, 1.2),
        "twist": (2, 1.2, 1.7),
        "head": (1, 0.7, 1.2),
        "kick": (2, 0.7, 1.1),
        "pause": (1, 0.4, 0.7),
    },
)

# Feet: left, right.
GAIT = Gait(
    feet=np.array([[0.0, 0.095], [0.0, -0.095]]),
    lag=np.array([0.0, 0.5]),
    duty=0.62,
    stride=(0.45, 0.62),
    spin=0.22,
    settle=1.1,
)

# Where hands go, relative to the shoulder in the chest's frame (x ahead, y outwards, z up), m.
HANDS = {
    "rest": (0.06, 0.11, -0.57),
    "raise": (0.10, 0.10, 0.60),
    "wave": (0.22, 0.26, 0.42),
    "point": (0.52, 0.25, 0.10),
    "twist": (0.06, 0.62, 0.06),
    "head": (0.10, -0.04, 0.26),
    "bend": (0.16, -0.02, -0.60),
    "crouch": (0.44, -0.02, -0.16),
    "kick": (0.20, 0.50, -0.20),
    "reach": (0.34, 0.22, 0.02),
}
REACH = np.array([0.17, 0.24, 0.36])  # how far a reaching hand wanders about its place, m
BOTH = (
    "twist",
    "crouch",
    "head",
    "kick",
)  # the other acts use one hand, or two if the trait is small

JOINTS = (
    Joint("pelvis", "root"),
    Joint("right_hip", "rfemur", parent="pelvis"),
    Joint("right_knee", "rtibia", parent="right_hip"),
    Joint("right_ankle", "rfoot", parent="right_knee"),
    Joint("left_hip", "lfemur", parent="pelvis"),
    Joint("left_knee", "ltibia", parent="left_hip"),
    Joint("left_ankle", "lfoot", parent="left_knee"),
    Joint("spine", "thorax", parent="pelvis"),
    Joint("thorax", "upperneck", (0, -0.03, 0), "spine"),
    Joint("nose", "head", (0, 0.03, 0.09), "thorax"),
    Joint("head_top", "head", (0, 0.13, 0.02), "nose"),
    Joint("left_shoulder", "lhumerus", parent="thorax"),
    Joint("left_elbow", "lradius", parent="left_shoulder"),
    Joint("left_wrist", "lhand", parent="left_elbow"),
    Joint("right_shoulder", "rhumerus", parent="thorax"),
    Joint("right_elbow", "rradius", parent="right_shoulder"),
    Joint("right_wrist", "rhand", parent="right_elbow"),
)


def cameras(size):
    """Four cameras near the corners of the room, at about head height and above."""
    places = [(3150, 2900, 1900), (-3000, 3100, 2150), (-3200, -2850, 1750), (2950, -3150, 2300)]
    lenses = [(-0.17, 0.03), (-0.2, 0.04), (-0.15, 0.02), (-0.18, 0.03)]
    rig = []
    for k, (place, (k1, k2)) in enumerate(zip(places, lenses)):
        bend = (k1, k2, 0.0005 * (-1) ** k, 0.0004 - 0.0003 * k, 0.0)
        rig.append(
            look_at(
                f"cam{k + 1}",
                place,
                [30 * k - 40, 20, 815],
                1.46,
                size,
                bend,
                roll=[0.8, -1.2, 1.6, -0.5][k],
                shift=(0.008 - 0.005 * k, 0.004 * k - 0.005),
            )
        )
    return rig


LOOKS = {
    "cam1": Look((1.02, 1.00, 0.96)),
    "cam2": Look((0.95, 0.97, 1.02)),
    "cam3": Look((1.10, 1.07, 1.05)),
    "cam4": Look((0.96, 0.93, 0.93)),
}


def animate(model, frames, rng, deck=None):
    """Poses (T, nq) and the acts' levels; `deck`: cards of some acts instead of all."""
    plan = best_plan(HABITS.dealt(deck), frames, FPS, rng)
    steps = footfalls(plan, GAIT, FPS)
    person = Person(model, plan, wander(frames, rng))
    poses = [person.pose(plan, steps, t) for t in range(frames)]
    return smooth(np.array(poses), 1.8), {"walk": (plan.speed > 0.2).astype(float), **plan.acts}


def wander(frames, rng, seconds=0.42):
    """Where each hand would rather be, (T, 2, 3) in about -1.4..1.4: a hand never does the same
    thing twice."""
    drift = gaussian_filter1d(rng.normal(size=(frames, 2, 3)), seconds * FPS, axis=0, mode="wrap")
    return 1.4 * np.tanh(drift / drift.std())


class Person:
    """Turns the plan and the footfalls into tasks for the puppet, frame by frame."""

    def __init__(self, model, plan, whims):
        self.puppet, self.whims = (puppet := Puppet(model)), whims
        self.ids = ids = {model.body(k).name: k for k in range(model.nbody)}
        self.upright = {b: puppet.turn(ids[b]) for b in ("root", "thorax", "head")}
        self.soles = [sole(model, side) for side in "lr"]
        hip = puppet.place(ids["lfemur"]) - puppet.place(ids["root"])
        leg = sum(np.linalg.norm(model.body(b).pos) for b in ("ltibia", "lfoot"))
        self.height = 0.965 * leg + self.soles[0][1] - hip[2]
        puppet.stand(plan.position[0], self.height, plan.heading[0])
        self._settle(plan)

    def _settle(self, plan):
        """Find the relaxed standing pose and make it the rest pose."""
        puppet = self.puppet
        for side, sign in (("l", 1), ("r", -1)):
            for name, angle in (("fingersrx", 0.5), ("wristry", 0.6 * sign), ("thumbrx", 0.4)):
                puppet.rest[puppet.hinge(side + name)] = angle
        puppet.slack[:] = 1.0
        yaw = plan.heading[0]
        c, s = np.cos(yaw), np.sin(yaw)
        feet = plan.position[0] + GAIT.feet @ np.array([[c, s], [-s, c]])
        tasks = self.trunk([*plan.position[0], self.height], yaw, yaw, yaw, 0, 0, 0, 0)
        for leg in (0, 1):
            tasks += self.foot(leg, feet[leg], yaw, 0, 0)
        for _ in range(40):
            arms = [t for sign in (1, -1) for t in self.arm(sign, np.array(HANDS["rest"]), 1.0)]
            puppet.solve(tasks + arms, rounds=5)
        puppet.rest = puppet.data.qpos[7:].copy()
        puppet.slack[:] = 0.6
        for name in ("lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"):
            for axis in ("rx", "ry", "rz"):
                puppet.slack[puppet.hinge(name + axis)] = 0.3

    def pose(self, plan, steps, t):
        """The pose (nq,) of frame t."""
        level = {name: values[t] for name, values in plan.acts.items()}
        trait = {name: values[t] for name, values in plan.traits.items()}
        for name in ("bend", "crouch"):  # sometimes deeper, sometimes less
            level[name] *= 0.6 + 0.4 * abs(trait[name])
        tasks = self.body(plan, steps, t, level, trait)
        for leg, sign in enumerate((1, -1)):
            kicks = level["kick"] * (trait["kick"] * sign > 0)
            lift = np.array([0.08 + 0.30 * abs(trait["kick"]), 0.0, 0.34]) * kicks
            tasks += self.foot(
                leg,
                steps.position[t, leg],
                steps.heading[t, leg],
                steps.swing[t, leg],
                steps.effort[t],
                lift,
                level["crouch"],
            )
            goal, calm = self.hand(sign, steps, t, level, trait)
            tasks += self.arm(sign, goal, calm)
        return self.puppet.solve(tasks, rounds=5)

    def body(self, plan, steps, t, level, trait):
        """Pelvis, chest and head: sway and bob of the walk, leans and twists of the acts."""
        last = len(plan.heading) - 1
        yaw = plan.heading[t]
        lead = np.clip(plan.heading[min(t + 18, last)] - yaw, -0.7, 0.7)
        beat, effort = 2 * np.pi * steps.phase[t], steps.effort[t]
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0])
        aside = np.array([-ahead[1], ahead[0], 0])
        seconds = t / FPS
        # Weight over the standing foot: the left foot swings in the phase's first half.
        sway = -0.022 * effort * np.sin(beat) - 0.06 * level["kick"] * np.sign(trait["kick"])
        place = np.array([*plan.position[t], self.height]) + sway * aside
        place[2] += 0.012 * effort * np.cos(2 * beat + 0.6) - 0.015 * effort
        place[2] -= 0.36 * level["crouch"] + 0.10 * level["bend"] + 0.02 * level["kick"]
        place -= ahead * (0.16 * level["bend"] + 0.10 * level["crouch"])
        lean = 0.05 * effort + 0.75 * level["bend"] + 0.35 * level["crouch"] - 0.10 * level["raise"]
        sideways = (
            0.22
            * level["point"]
            * np.sign(trait["point"])
            * (1 if abs(trait["point"]) > 0.3 else 0)
        )
        twist = (
            level["twist"] * 0.75 * np.sin(2.2 * seconds + 3 * trait["twist"])
            + 0.5 * level["bend"] * trait["bend"]
        )
        swing = 0.10 * effort * np.sin(beat)
        gaze = lead + 0.18 * np.sin(1.3 * seconds) + 0.6 * level["pause"] * trait["pause"]
        gaze += 0.35 * level["point"] * np.sign(trait["point"]) + 0.7 * twist
        nod = 0.08 + 0.06 * np.sin(0.9 * seconds) + 0.6 * level["bend"] + 0.25 * level["crouch"]
        nod -= 0.40 * level["raise"] - 0.25 * level["head"]
        return self.trunk(
            place,
            yaw + swing,
            yaw + 0.3 * lead - swing + twist,
            yaw + gaze,
            lean,
            nod,
            0.04 * effort * np.sin(beat),
            sideways,
        )

    def trunk(self, place, pelvis, chest, head, lean, nod, list_, sideways):
        """Tasks for pelvis, chest and head by their headings and leans (rad)."""
        ids, up = self.ids, self.upright
        return [
            Reach(ids["root"], np.zeros(3), np.asarray(place), 0.012),
            Face(ids["root"], attitude(pelvis, 0.75 * lean, -list_) @ up["root"], 0.10),
            Face(ids["thorax"], attitude(chest, 1.6 * lean, list_ + sideways) @ up["thorax"], 0.12),
            Face(ids["head"], attitude(head, nod, 0) @ up["head"], 0.15),
        ]

    def foot(self, leg, place, yaw, swing, effort, lift=(0.0, 0.0, 0.0), heel=0.0):
        """A foot flat on the floor, on its toes by `heel`, or swinging.

        Toes point down when it leaves the floor, the heel comes first when it lands.
        """
        body, toes = (self.ids["lr"[leg] + part] for part in ("foot", "toes"))
        flat, ankle = self.soles[leg]
        arc = np.sin(np.pi * swing) ** 2
        pitch = arc * (0.75 * np.cos(np.pi * swing) + 0.12) * effort
        lift = np.asarray(lift)
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0])
        goal = np.array([*place, ankle + 0.085 * arc + 0.08 * heel + lift[2]]) + lift[0] * ahead
        splay = 0.10 * (1 if leg == 0 else -1)
        pitch += 0.9 * lift[2] + 0.5 * heel
        return [
            Reach(body, np.zeros(3), goal, 0.003),
            Face(body, attitude(yaw + splay, pitch, 0) @ flat, 0.04),
            Face(toes, attitude(yaw + splay, pitch - 0.5 * heel, 0) @ flat, 0.15),
        ]

    def hand(self, sign, steps, t, level, trait):
        """A hand's place (3,) in its shoulder's frame, and how much the arm is at rest."""
        whim = self.whims[t, 0 if sign > 0 else 1]
        beat, effort, seconds = 2 * np.pi * steps.phase[t], steps.effort[t], t / FPS
        # Arms swing against the legs; the elbow bends as the hand comes forward.
        fore = -sign * effort * np.cos(beat - 0.9) * (1 + 0.4 * whim[0])
        goal = np.array(HANDS["rest"]) + [
            0.20 * fore,
            -0.03 * fore,
            0.05 + 0.05 * fore + 0.02 * effort,
        ]
        goal[2] -= 0.05
        calm = 1.0
        for name in HANDS:
            if name == "rest":
                continue
            share = level[name]
            if name not in BOTH and abs(trait[name]) > 0.3 and trait[name] * sign < 0:
                share = 0.25 * share if name == "bend" else 0.0
            want = np.array(HANDS[name]) + whim * (REACH if name == "reach" else 0.05)
            want[0] = max(want[0], 0.05)
            if name == "wave":
                want = want + [0, 0.13 * np.sin(2 * np.pi * 1.7 * seconds), 0]
            goal = goal + share * (want - goal)
            calm -= share
        return goal, max(0.0, calm)

    def arm(self, sign, goal, calm):
        """Tasks for a hand, and for an elbow that hangs when the arm is at rest."""
        side = "l" if sign > 0 else "r"
        shoulder = self.puppet.place(self.ids[side + "humerus"])
        chest = self.puppet.turn(self.ids["thorax"]) @ self.upright["thorax"].T
        mirror = np.array([1, sign, 1])
        tasks = [
            Reach(self.ids[side + "hand"], np.zeros(3), shoulder + chest @ (goal * mirror), 0.02)
        ]
        if calm > 0.05:
            elbow = np.array([-0.04, 0.10, -0.31]) * mirror
            tasks.append(
                Reach(self.ids[side + "radius"], np.zeros(3), shoulder + chest @ elbow, 0.05 / calm)
            )
        return tasks


def sole(model, side):
    """A foot's orientation (3, 3) when flat and facing x, and the height of its ankle, m."""
    ends, radius = [], 0.0
    for name in (f"{side}foot", f"{side}foot_ch"):
        geom = model.geom(name)
        axis = Rotation.from_quat(geom.quat, scalar_first=True).as_matrix()[:, 2]
        ends += [geom.pos - axis * geom.size[1], geom.pos + axis * geom.size[1]]
        radius = geom.size[0]
    ends = np.array(ends)
    # The toes are where the next body hangs; the sole lies on the far side of the ankle.
    ahead = model.body(f"{side}toes").pos
    normal = np.linalg.svd(ends - ends.mean(0))[2][2]
    normal = normal * -np.sign(normal @ ends.mean(0))
    ahead = ahead - (ahead @ normal) * normal
    ahead = ahead / np.linalg.norm(ahead)
    frame = np.stack([ahead, np.cross(normal, ahead), normal])
    return frame, radius - (ends @ normal).mean()


def stature(at):
    """Height (mm) with straight legs, from the neutral pose's joints (mm) by name.

    The neutral pose stands astride.  20 mm each lie above the head's joint and below the ankle.
    """
    leg = sum(
        np.linalg.norm(at[a] - at[b])
        for a, b in (("left_hip", "left_knee"), ("left_knee", "left_ankle"))
    )
    return at["head_top"][2] - at["left_hip"][2] + leg + 40


HUMAN = Clip(
    name="human",
    fps=FPS,
    seconds={"train": 60, "test": 20},
    units=UNITS,
    joints=JOINTS,
    length=stature,
    scene=lambda side: human_scene(side),
    cameras=cameras,
    animate=animate,
    looks=LOOKS,
    crf=23,
)
