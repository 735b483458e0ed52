"""Renders poses through the cameras' lenses and sensors into video files."""

import os
from fractions import Fraction
from pathlib import Path

import av
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from render.rig import grind
from render.scene import SHOWN, repaint


def compile_scene(clip, cameras, look=None):
    """The clip's model with its cameras, and the camera's lenses."""
    lenses = [grind(camera) for camera in cameras]
    spec = clip.scene(max(lens.side for lens in lenses))
    if look is not None:
        repaint(spec, look)
    for camera, lens in zip(cameras, lenses):
        # MuJoCo's cameras look along -z with y up.
        turn = camera.rotation.T @ np.diag([1, -1, -1])
        spec.worldbody.add_camera(
            name=camera.name,
            pos=camera.centre / clip.units,
            fovy=lens.fovy,
            quat=Rotation.from_matrix(turn).as_quat(scalar_first=True),
        )
    return spec.compile(), lenses


class Eye:
    """One camera: pose in, image (H, W, 3) uint8 out.

    bare: without shadows and reflections, four times faster; look: in colours of that number.
    """

    def __init__(self, clip, cameras, index, bare=False, look=None):
        self.camera, self.look = cameras[index], clip.looks[cameras[index].name]
        self.model, lenses = compile_scene(clip, cameras, look)
        self.lens = lenses[index]
        self.data = mujoco.MjData(self.model)
        self.renderer = mujoco.Renderer(self.model, self.lens.side, self.lens.side)
        if bare:
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self.renderer.scene.flags[flag] = 0
        self.option = mujoco.MjvOption()
        self.option.geomgroup[:] = [group in SHOWN for group in range(6)]
        self.option.sitegroup[:] = 0
        self.shade = vignette(self.camera.size)

    def see(self, pose, rng):
        """The image of a pose (nq,); `rng` draws the sensor's noise."""
        self.data.qpos = pose
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self.renderer.update_scene(self.data, self.camera.name, self.option)
        wide = self.renderer.render().reshape(-1, 3).astype(np.float32)
        width, height = self.camera.size
        light = (self.lens.warp @ wide).reshape(height, width, 3) * self.shade
        light *= np.float32(self.look.gains)
        noise = rng.standard_normal(light.shape, np.float32)
        light += noise * (self.look.noise * np.sqrt(0.4 + light / 160))
        return np.clip(light + 0.5, 0, 255).astype(np.uint8)

    def close(self):
        self.renderer.close()


def vignette(size):
    """Light fall-off towards the corners, (H, W, 1)."""
    width, height = size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return (1 - 0.10 * (x * x + y * y))[..., None].astype(np.float32)


def shoot(clip, size, index, poses, seed, path, every=1, bare=False, look=None):
    """Film all poses (T, nq) with one camera into an H.264 file, written atomically.

    They are every so many frames of the clip's rate.
    """
    cameras = clip.cameras(size)
    eye = Eye(clip, cameras, index, bare, look)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.part.mp4")
    with av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps, every))
        stream.width, stream.height, stream.pix_fmt = *cameras[index].size, "yuv420p"
        stream.options = {"crf": str(clip.crf), "preset": "medium", "g": "120"}
        stream.codec_context.thread_count = 1
        for number, pose in enumerate(poses):
            image = eye.see(pose, np.random.default_rng([seed, index, number]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    eye.close()
    os.replace(draft, path)
    return path
