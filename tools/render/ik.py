"""Inverse kinematics: bring bodies to targets with MuJoCo's Jacobians and damped least squares."""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Reach:
    """Bring a point of a body to a place; `slack` (m, or one per world axis) is the error that
    costs 1."""

    body: int
    point: np.ndarray  # (3,) in the body's frame
    goal: np.ndarray  # (3,) in the world
    slack: float | np.ndarray


@dataclass(frozen=True)
class Face:
    """Turn a body's frame to `goal` (3, 3); `slack` (rad) is the error that costs 1."""

    body: int
    goal: np.ndarray
    slack: float


class Puppet:
    """A model with a free root that is posed by tasks.

    Every solve starts at the last pose, so a motion stays continuous.
    """

    def __init__(self, model):
        self.model, self.data = model, mujoco.MjData(model)
        hinges = model.njnt - 1
        self.low, self.high = model.jnt_range[1:].T
        self.rest = np.zeros(hinges)
        self.slack = np.ones(hinges)  # rad from `rest` that cost 1
        self.refresh()

    def refresh(self):
        """Bring the body frames up to date with qpos."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def stand(self, place, height, yaw):
        """Put the neutral pose's root at a place (2,) and height (m), turned by `yaw` (rad)."""
        pose = self.model.qpos0.copy()
        pose[:3] = *place, height
        turn = Rotation.from_euler("z", yaw) * Rotation.from_quat(pose[3:7], scalar_first=True)
        pose[3:7] = turn.as_quat(scalar_first=True)
        self.data.qpos = pose
        self.refresh()

    def hinge(self, name):
        """Index of a named joint among the hinges (those after the free root)."""
        return self.model.joint(name).id - 1

    def place(self, body, point=(0, 0, 0)):
        """World position (3,) of a point of a body."""
        return self.data.xpos[body] + self.data.xmat[body].reshape(3, 3) @ np.asarray(point)

    def turn(self, body):
        """World orientation (3, 3) of a body."""
        return self.data.xmat[body].reshape(3, 3).copy()

    def solve(self, tasks, rounds=4, damping=0.05):
        """A few Gauss-Newton steps towards all tasks and the rest pose, inside the joint limits."""
        model, data = self.model, self.data
        for _ in range(rounds):
            rows, errors = zip(*(self._linear(task) for task in tasks))
            jacobian, error = np.concatenate(rows), np.concatenate(errors)
            pull = np.concatenate([np.full(6, damping), 1 / self.slack])
            missing = np.concatenate([np.zeros(6), self.rest - data.qpos[7:]])
            system = jacobian.T @ jacobian + np.diag(pull**2)
            step = np.linalg.solve(system, jacobian.T @ error + pull**2 * missing)
            mujoco.mj_integratePos(model, data.qpos, step * min(1, 0.6 / np.abs(step).max()), 1)
            data.qpos[7:] = np.clip(data.qpos[7:], self.low, self.high)
            self.refresh()
        return data.qpos.copy()

    def _linear(self, task):
        """A task's Jacobian (3, nv) and error (3,), both divided by its slack."""
        jacobian = np.zeros((3, self.model.nv))
        if isinstance(task, Reach):
            here = self.place(task.body, task.point)
            mujoco.mj_jac(self.model, self.data, jacobian, None, here, task.body)
            error = task.goal - here
        else:
            mujoco.mj_jacBody(self.model, self.data, None, jacobian, task.body)
            error = Rotation.from_matrix(task.goal @ self.turn(task.body).T).as_rotvec()
        slack = np.broadcast_to(task.slack, 3)
        return jacobian / slack[:, None], error / slack


def smooth(poses, width):
    """Smooth poses (T, nq) over `width` frames (standard deviation); the root's quaternion too."""
    poses = poses.copy()
    flips = np.sign(np.sum(poses[1:, 3:7] * poses[:-1, 3:7], 1))
    poses[1:, 3:7] *= np.cumprod(flips)[:, None]
    poses = gaussian_filter1d(poses, width, axis=0, mode="nearest")
    poses[:, 3:7] /= np.linalg.norm(poses[:, 3:7], axis=1, keepdims=True)
    return poses
