"""An hour of six cameras at 1328 x 1048: how soon it opens, and what memory checking, training and tracking take beside the budget given.

    python benchmarks/large.py [--minutes 60] [--memory 2] [--frames 2000] [--steps 20] [--folder build/large]

Writes the recording first (an animal that walks to and fro, encoded once and repeated packet by packet: an hour is written in a
minute), then runs every stage in a process of its own. Resident memory is the process's largest; `before` is what it held after one
training step on a small clip, so `grown` is what the recording costs. `waiting`: share of the steps' time spent waiting for frames.
Writes build/bench/large.json.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

SIZE, VIEWS, FPS = (1328, 1048), 6, 30
LOOP = 90  # frames there, and as many back
STAGES = ("open", "doctor", "train", "train from a cache", "the same again", "track")


# ---- the recording ---------------------------------------------------------------------------------------------------
def write_recording(folder: Path, minutes: float) -> None:
    """A video a camera and their calibration, unless they are there."""
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.synthetic import draw, figure, poses

    if (folder / "calibration.toml").is_file():
        return
    start = time.perf_counter()
    rig = figure(1, VIEWS, SIZE).rig
    frames = draw(rig.resized((SIZE[0] // 4, SIZE[1] // 4)), poses(LOOP))
    folder.mkdir(parents=True, exist_ok=True)
    for v, name in enumerate(rig.names):
        repeated(folder / f"{name}.mp4", frames[:, v].numpy(), round(60 * FPS * minutes / (2 * LOOP)))
    save_calibration(rig, folder / "calibration.toml")
    size = sum(path.stat().st_size for path in folder.glob("*.mp4"))
    print(f"wrote {minutes:g} minutes of {VIEWS} cameras in {time.perf_counter() - start:.0f} s, {size / 1e9:.2f} GB")


def repeated(path: Path, frames, times: int) -> None:
    """Encode the frames, enlarged to `SIZE`, there and back; write the packets `times` times, without encoding again."""
    import av
    from PIL import Image

    from bkind3d_lite.videos import write_video

    large = [Image.fromarray(image).resize(SIZE, Image.Resampling.BILINEAR) for image in frames]
    loop = write_video(path.with_suffix(".loop.mp4"), map(np.asarray, [*large, *large[::-1]]), FPS, crf=30)
    with av.open(str(loop)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        length = 2 * LOOP * source.streams.video[0].duration // source.streams.video[0].frames
        for n in range(times):
            for data, pts, dts, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe, packet.time_base = pts + n * length, dts + n * length, key, source.streams.video[0].time_base
                packet.stream = stream
                container.mux(packet)
    loop.unlink()
