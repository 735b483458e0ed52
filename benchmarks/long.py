"""Does memory stay flat over a long recording? Resident memory against frames, looked at and
tracked in shards.

    python benchmarks/long.py [--frames 10800] [--views 2] [--minutes 0.6] [--folder build/long]

Writes the recording first (an animal that walks to and fro, encoded once and repeated packet by
packet) and an untrained network, whose memory is that of a trained one. Then one process looks at
the session and tracks it in shards, as `track --chunk` does, while a thread reads its resident
memory.
Of a stage, rows are the most so far at each tenth of it: of the look by time, of the tracking by
shards. `--heading`: with the path of the animal's heading. Decoded
frames may take 32 MB, less than there are, so that no cache is taken for growth. Writes
build/bench/long.json.
"""

import argparse
import json
import threading
import time
from pathlib import Path

from large import FPS, repeated, resident

WH = (64, 48)
LOOP = 180  # frames of the loop


def write_recording(folder: Path, frames: int, views: int) -> None:
    """A video a camera and their calibration, unless they are there."""
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.clips.synthetic import draw, figure, poses

    if (folder / "calibration.toml").is_file():
        return
    rig = figure(1, views, WH).rig
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(rig, poses(LOOP // 2))
    for v, name in enumerate(rig.names):
        repeated(folder / f"{name}.mp4", pictures[:, v].numpy(), -(-frames // LOOP), WH)
    save_calibration(rig, folder / "calibration.toml")


def write_checkpoint(folder: Path, given) -> Path:
    """An untrained network of a small recipe."""
    from bkind3d_lite.clips import open_clip
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training import begin, save

    small = dict(image_wh=(32, 32), voxels=16, animal_side=300.0, by_heading=given.heading)
    recipe = RECIPES["quick"].with_(keypoints=8, **small)
    run = begin(recipe, open_clip(given.folder / "recording"))
    return save(run, folder / "checkpoint.safetensors", whole=False)


class Watch(threading.Thread):
    """Resident memory of this process over time: (seconds, GB, shards that are there)."""

    def __init__(self, shards: Path):
        super().__init__(daemon=True)
        self.shards, self.rows, self.ends, self.begun = shards, [], False, time.perf_counter()

    def run(self) -> None:
        while not self.ends:
            done = len(list(self.shards.glob("0*.npz")))
            self.rows.append((time.perf_counter() - self.begun, resident(), done))
            time.sleep(0.1)


def watched(shards: Path, work) -> list:
    """What a thread saw while `work` ran."""
    watch = Watch(shards)
    watch.start()
    work()
    watch.ends = True
    watch.join()
    return watch.rows


def tenths(rows: list, place) -> list:
    """The most memory until each tenth of a stage: (share, GB); `place` of a row, in [0, 1]."""
    return [(n / 10, max(r[1] for r in rows if place(r) <= n / 10)) for n in range(1, 11)]


def measure(given) -> dict:
    """Look, then track in shards: seconds and memory of each."""
    import torch

    from bkind3d_lite.workflows.shard_run import frames_of, track_shards

    torch.set_num_threads(1)
    out = given.folder / "track"
    for path in (*out.glob("*.npz"), *(out / "shards").glob("*.npz")):
        path.unlink()
    model, how = write_checkpoint(given.folder / "run", given), dict(device="cpu", budget=1 << 25)
    clip, shards = given.folder / "recording", out / "shards"
    look = watched(shards, lambda: track_shards(model, clip, out, look=True, **how))
    print(f"looked: {tenths(look, lambda r: r[0] / look[-1][0])}", flush=True)
    length, pieces = frames_of(given.minutes, FPS), dict(frames="0:", chunk=given.minutes)
    track = watched(shards, lambda: track_shards(model, clip, out, **pieces, **how))
    return {
        "look": {"seconds": look[-1][0], "gb": tenths(look, lambda r: r[0] / look[-1][0])},
        "track": {
            "seconds": track[-1][0],
            "gb": tenths(track, lambda r: r[2] * length / given.frames - 1e-9),
        },
        "shard": length,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10800)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0.6, help="of a shard")
    parser.add_argument("--heading", action="store_true", help="find it, too")
    parser.add_argument("--folder", type=Path, default=Path("build/long"))
    given = parser.parse_args()
    given.frames -= given.frames % LOOP
    write_recording(given.folder / "recording", given.frames, given.views)
    found = measure(given)
    print(f"{given.frames} frames of {given.views} cameras, shards of {found['shard']}")
    for stage in ("look", "track"):
        print(f"{stage}: {found[stage]['seconds']:.0f} s")
        for share, gb in found[stage]["gb"]:
            print(f"  {share * given.frames:8.0f} frames  {gb:6.3f} GB")
    path = Path("build/bench/long.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found | {"frames": given.frames, "date": time.strftime("%F")}))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
