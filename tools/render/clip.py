"""What a clip is made of: a scene, a rig, a puppet's motion, named joints."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Joint:
    """A ground-truth point: `point` (m) in the frame of `body`, a bone to `parent` ("" at the
    root)."""

    name: str
    body: str
    point: tuple = (0.0, 0.0, 0.0)
    parent: str = ""


@dataclass(frozen=True)
class Clip:
    """One animal and its room."""

    name: str
    fps: int
    seconds: dict  # part -> length of the sample clip
    units: float  # mm per unit of the model
    joints: tuple
    length: Callable  # (positions of the neutral pose by name) -> body length, mm
    scene: Callable  # side (px) -> MjSpec
    cameras: Callable  # size (px) -> list of Camera
    animate: Callable  # model, frames, rng, deck -> poses (T, nq), acts {name: (T,)}
    looks: dict  # camera name -> Look
    crf: int

    def edges(self):
        """Bones (E, 2) as pairs of joint indices."""
        index = {joint.name: k for k, joint in enumerate(self.joints)}
        return np.array([(index[j.parent], index[j.name]) for j in self.joints if j.parent])


@dataclass(frozen=True)
class Look:
    """A camera's own exposure: gains (3,) of red, green, blue, and read noise in grey levels."""

    gains: tuple
    noise: float = 1.6
