"""What the animal does when: a walk through the arena with acts in between, and its footfalls."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

REST = 0.41  # the gait phase (mod 1/2) at which every foot is on the floor


@dataclass(frozen=True)
class Habits:
    """How an animal spends its time (lengths in m, times in s)."""

    radius: float  # of the disc it roams
    speeds: tuple  # slowest and fastest walk, m/s
    walk: tuple  # shortest and longest walking bout
    acts: dict  # name -> (cards in the deck, shortest, longest)
    nimble: float  # fastest turn, rad/s
    ramp: float  # s to start or end an act

    def dealt(self, deck):
        """The same habits with other cards in the deck: {name: cards}; None: these."""
        if deck is None:
            return self
        if odd := set(deck) - set(self.acts):
            raise ValueError(f"no act is named {', '.join(odd)}; known: {', '.join(self.acts)}")
        return replace(self, acts={n: (deck.get(n, 0), *a[1:]) for n, a in self.acts.items()})


@dataclass(frozen=True)
class Plan:
    """One animal's course, T frames."""

    position: np.ndarray  # (T, 2) m
    heading: np.ndarray  # (T,) rad, unwrapped
    speed: np.ndarray  # (T,) m/s
    turn: np.ndarray  # (T,) rad/s
    acts: dict  # name -> (T,) level in 0..1
    traits: dict  # name -> (T,) a value in -1..1 drawn for each bout of the act


@dataclass(frozen=True)
class Gait:
    """When feet move: stride (m per cycle) = stride[0] + stride[1] * speed."""

    feet: np.ndarray  # (L, 2) m, each foot's place under the standing body: x ahead, y left
    lag: np.ndarray  # (L,) phase in cycles
    duty: float  # share of the cycle a foot spends on the floor
    stride: tuple
    spin: float  # m walked per radian turned on the spot
    settle: float  # cycles/s at which a stopping animal finishes its step


@dataclass(frozen=True)
class Steps:
    """Where the feet are, T frames and L feet."""

    position: np.ndarray  # (T, L, 2) m
    heading: np.ndarray  # (T, L) rad, of the foot
    swing: np.ndarray  # (T, L) 0..1 through the swing, 0 on the floor
    phase: np.ndarray  # (T,) cycles
    effort: np.ndarray  # (T,) 0..1, how much it walks


def best_plan(habits, frames, fps, rng, tries=400):
    """Of several random plans the one with the most even headings and the richest acts."""

    def evenness(plan):
        share = np.histogram(plan.heading % (2 * np.pi), 16, (0, 2 * np.pi))[0] / frames
        acted = np.array([level.mean() for level in plan.acts.values()])
        return -6 * np.sum(share * np.log(share + 1e-9)) + 0.3 * np.log(acted + 0.01).sum()

    tries = max(1, min(tries, 300_000 // frames))
    return max((make_plan(habits, frames, fps, rng) for _ in range(tries)), key=evenness)


def make_plan(habits, frames, fps, rng):
    """A random plan: bouts of walking to random places, an act after each."""
    drive, acts, traits = bouts(habits, frames, fps, rng)
    place, heading, turn, speed = np.zeros(2), rng.uniform(-np.pi, np.pi), 0.0, 0.0
    goal, track, seen = somewhere(habits, place, [], rng), [], []
    for wish in drive:
        if np.linalg.norm(goal - place) < 0.25 * habits.radius:
            goal = somewhere(habits, place, seen, rng)
        off = np.angle(np.exp(1j * (np.arctan2(*(goal - place)[::-1]) - heading)))
        # It first turns to its goal, then walks; inertia smooths both.
        eager = min(1, wish / habits.speeds[0])
        turn += (np.clip(3 * off, -1, 1) * habits.nimble * eager - turn) * min(1, 5 / fps)
        speed += (wish * max(0.12, np.cos(off)) ** 1.5 - speed) * min(1, 5 / fps)
        heading += turn / fps
        place = place + speed / fps * np.array([np.cos(heading), np.sin(heading)])
        track.append((*place, heading, speed, turn))
        seen.append(heading)
    track = gaussian_filter1d(np.array(track), 0.06 * fps, axis=0, mode="nearest")
    return Plan(track[:, :2], track[:, 2], track[:, 3], track[:, 4], acts, traits)


def somewhere(habits, place, seen, rng, choices=6):
    """A random place in the disc, not too near, in a direction it has seldom faced so far."""
    goals = []
    while len(goals) < choices:
        goal = rng.uniform(-1, 1, 2) * habits.radius
        if (
            np.linalg.norm(goal) < habits.radius
            and np.linalg.norm(goal - place) > 0.6 * habits.radius
        ):
            goals.append(goal)
    faced = np.exp(1j * np.array(seen[-6000:]))

    def familiar(goal):
        bearing = np.exp(1j * np.arctan2(*(goal - place)[::-1]))
        return np.sum(np.abs(faced - bearing) < 0.5)

    return min(goals, key=familiar)


def bouts(habits, frames, fps, rng):
    """Wished speed (T,), and each act's level and trait (T,)."""
    cards = [name for name, (count, *_) in habits.acts.items() for _ in range(count)]
    deck = []
    drive = np.zeros(frames)
    acts, traits = ({name: np.zeros(frames) for name in habits.acts} for _ in range(2))
    now = 0
    while now < frames:
        end = now + int(rng.uniform(*habits.walk) * fps)
        drive[now:end] = rng.uniform(*habits.speeds)
        # Drawn like cards, no act is long forgotten.
        deck = deck or list(rng.permutation(cards))
        name = str(deck.pop())
        length = rng.uniform(*habits.acts[name][1:])
        now = end + int((length + 2 * habits.ramp) * fps)
        level = bump(np.arange(now - end) / fps, habits.ramp, length)[: max(0, frames - end)]
        acts[name][end:now] = level
        # The trait is held beyond the bout: it matters only while the level is not 0.
        traits[name][end:] = rng.uniform(-1, 1)
    return drive, acts, traits


def bump(times, ramp, length):
    """Smooth rise, hold, fall; it starts half a ramp late, so that the animal has stopped."""
    rise = np.clip((times - 0.4 * ramp) / ramp, 0, 1)
    fall = np.clip((ramp + length + 0.4 * ramp - times) / ramp, 0, 1)
    level = np.minimum(rise, fall)
    return level**3 * (10 - 15 * level + 6 * level**2)


def footfalls(plan, gait, fps):
    """Feet that stand still on the floor and step with the body."""
    phase, effort = gait_phase(plan, gait, fps)
    frames, feet = len(phase), len(gait.feet)
    times = np.arange(frames)
    position, swing = np.zeros((frames, feet, 2)), np.zeros((frames, feet))
    heading = np.zeros((frames, feet))
    for leg in range(feet):
        cycle = phase + gait.lag[leg]
        first, last = int(np.floor(cycle[0])) - 1, int(np.floor(cycle[-1])) + 2
        # A foot stands where its hip is above it in the middle of the stance.
        middle = np.arange(first, last) + 1 - gait.duty / 2
        ramp = cycle + 1e-9 * times  # strictly increasing, for the inverse
        when = np.interp(middle, ramp, times)
        yaw = np.interp(when, times, plan.heading)
        body = np.stack([np.interp(when, times, plan.position[:, k]) for k in (0, 1)], 1)
        x, y = gait.feet[leg]
        holds = body + np.stack(
            [x * np.cos(yaw) - y * np.sin(yaw), x * np.sin(yaw) + y * np.cos(yaw)], 1
        )
        index = np.floor(cycle).astype(int) - first
        part = np.clip((cycle % 1) / (1 - gait.duty), 0, 1)
        swing[:, leg] = part % 1
        blend = part**2 * (3 - 2 * part)
        position[:, leg] = holds[index - 1] + blend[:, None] * (holds[index] - holds[index - 1])
        heading[:, leg] = yaw[index - 1] + blend * (yaw[index] - yaw[index - 1])
    return Steps(position, heading, swing, phase, effort)


def gait_phase(plan, gait, fps):
    """The gait's phase (T,) in cycles, and how much the animal walks (T,) in 0..1.

    A stopping animal finishes its step: the phase then runs on to the next rest.
    """
    pace = np.hypot(plan.speed, gait.spin * plan.turn)
    rate = pace / (gait.stride[0] + gait.stride[1] * pace)
    phase = [REST]
    for cycles in rate[1:] / fps:
        if cycles < 0.35 * gait.settle / fps:
            rest = np.ceil((phase[-1] - REST) * 2 - 1e-6) / 2 + REST
            cycles = min(gait.settle / fps, max(0, rest - phase[-1]))
        phase.append(phase[-1] + cycles)
    effort = gaussian_filter1d(np.clip(np.gradient(phase) * fps / gait.settle, 0, 1), 0.1 * fps)
    return np.array(phase), effort
