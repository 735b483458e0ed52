"""Fuzz: damaged and hostile videos, images and truth files are read or end in one clear error.

In bounded time and memory, and they lead nowhere else. The files are opened in a process of their
own (this file as a script), so that a crash of a decoder is a failure here and not the end of the
tests. As committed there are 600 mutations of videos and 300 of the others, beside the 2,100 of
`test_calibrations.py`; `BKIND3D_FUZZ=5000` makes more.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COUNT = int(os.environ.get("BKIND3D_FUZZ", 600))
SECONDS = 60 + COUNT // 10  # of processor time, for the process
ROOM = 512 << 20  # bytes that no file of some kB may fill
WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1_000_000_000, 60_000, 0x10000, 0xFFFF]


# ---- in a process of its own ---------------------------------------------------------------------
def opened(path: Path) -> str:
    """What the library makes of a file: "read", or its error."""
    from bkind3d_lite.clips.recordings.footage import IMAGE_SUFFIXES, Stills, footage_of
    from bkind3d_lite.clips.recordings.plain import read_truth
    from bkind3d_lite.clips.videos import Frames

    try:
        if path.suffix == ".npz":
            return "read" if read_truth(path).positions.shape[2] == 3 else "wrong"
        video = Stills([path]) if path.suffix in IMAGE_SUFFIXES else footage_of(path)
        n = len(video)
        assert (video.seconds is None or len(video.seconds) == n) and min(video.wh) > 0
        for start in {0, n // 2, max(0, n - 3)}:
            assert video.read(start, min(start + 3, n), (24, 16)).shape[1:] == (16, 24, 3)
        assert Frames([video], (24, 16))[[n - 1]].shape == (1, 1, 16, 24, 3)
        return "read"
    except ValueError as error:  # all else is a failure
        return f"ValueError {error}"


def visit(folder: Path) -> None:
    """Open every file of a folder, one JSON line each; the last line is the memory taken, bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    for warm in ("nothing.mp4", "nothing.npz"):
        opened(folder / warm)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            result = opened(path)
        except BaseException as error:
            result = f"{type(error).__name__} {error}"
        print(json.dumps([path.name, result]), flush=True)
    print(json.dumps(["", 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)]))


def visited(folder: Path) -> tuple[dict[str, str], int]:
    """{file: what came of it} by a child process, and the memory it took."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"crashed after {lines[-1:]}: {done.stderr[-2000:]}"
    return dict(lines[:-1]), lines[-1][1]


# ---- mutations -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def originals(tmp_path_factory, barcodes):
    """{name: bytes} of small good files of every container and codec of the field."""
    import av

    folder, images = tmp_path_factory.mktemp("good"), barcodes(70)
    kinds = dict(
        a=("mp4", "libx264"),
        b=("mov", "mpeg4"),
        c=("avi", "mpeg4"),
        d=("mkv", "libx264"),
        e=("webm", "libvpx"),
        f=("avi", "mjpeg"),
    )
    for name, (suffix, codec) in kinds.items():
        options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
        with av.open(str(folder / f"{name}.{suffix}"), "w", options=options) as container:
            stream = container.add_stream(codec, rate=30, options={"g": "12"})
            stream.height, stream.width = 32, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def mutated(good: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to five changes: bits, bytes, extreme fields; cut, repeated, mixed with another file."""
    data, header = bytearray(good), min(len(good), 2500)
    for _ in range(int(random.integers(1, 6))):
        at = int(random.integers(header if random.random() < 0.7 else len(data) or 1))
        span, kind = int(random.integers(1, 60)), int(random.integers(9))
        at = min(at, max(0, len(data) - 8))
        if kind == 0 and data:
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1 and data:
            data[at] = int(random.integers(256))
        elif kind in (2, 3, 4):
            word = WORDS[int(random.integers(len(WORDS)))]
            data[at : at + 4] = struct.pack(">I" if random.random() < 0.6 else "<I", word)
        elif kind == 5:
            del data[at : at + span]
        elif kind == 6:
            data[at:at] = data[at : at + span] * int(random.integers(1, 4))
        elif kind == 7:
            data[at:] = other[at:]
        else:
            del data[int(random.integers(1 + len(data))) :]
    return bytes(data)


def judged(folder: Path, count: int) -> dict[str, str]:
    """What came of each of `count` files: read, or one error that begins with the file's name.

    And all in little memory.
    """
    results, memory = visited(folder)
    wrong = {
        name: what
        for name, what in results.items()
        if what != "read" and not what.startswith(f"ValueError {folder / name}: ")
    }
    assert not wrong and len(results) == count and memory < ROOM, (wrong, len(results), memory)
    return results


def test_mutated_videos(originals, tmp_path):
    """Every container, by its own and another's name: no other error, no crash, little memory."""
    random, names = np.random.default_rng(0), sorted(originals)
    for i in range(COUNT):
        name, other = names[i % len(names)], names[int(random.integers(len(names)))]
        suffix = (name if random.random() < 0.9 else other).split(".")[1]
        (tmp_path / f"{i:05d}.{suffix}").write_bytes(
            mutated(originals[name], originals[other], random)
        )
    refused = sum(what != "read" for what in judged(tmp_path, COUNT).values())
    assert COUNT / 5 < refused < COUNT, "many mutations break a file, not all"


def test_mutated_images_and_truth_files(tmp_path, barcodes):
    from PIL import Image

    good = tmp_path / "good"
    good.mkdir()
    for suffix in ("png", "jpg"):
        Image.fromarray(barcodes(90)[77]).save(good / f"a.{suffix}")
    np.savez(
        good / "a.npz",
        positions=np.random.default_rng(0).normal(size=(9, 4, 3)),
        names=["a", "b", "c", "d"],
        edges=[[0, 1], [2, 3]],
        body_length=99.0,
        marks=np.zeros((9, 3, 4, 2)),
    )
    originals = {p.name: p.read_bytes() for p in sorted(good.iterdir())}
    shutil.rmtree(good)
    random, names = np.random.default_rng(3), sorted(originals)
    for i in range(COUNT // 2):
        name, other = names[i % 3], names[int(random.integers(3))]
        (tmp_path / f"{i:05d}.{name.split('.')[1]}").write_bytes(
            mutated(originals[name], originals[other], random)
        )
    judged(tmp_path, COUNT // 2)


# ---- crafted -------------------------------------------------------------------------------------
def changed(data: bytes, box: bytes, at: int, layout: str, *values: int) -> bytes:
    """The file with numbers written `at` so many bytes after each such name of a box or field."""
    data, i = bytearray(data), -1
    while (i := data.find(box, i + 1)) >= 0:
        struct.pack_into(layout, data, i + len(box) + at, *values)
    return bytes(data)


def many(good: bytes, count: int) -> bytes:
    """An MP4 that says it has `count` frames of one byte, 512 ticks each, in one chunk."""
    data = changed(good, b"stsz", 4, ">II", 1, count)
    data = changed(data, b"stts", 4, ">III", 1, count, 512)
    return changed(data, b"stsc", 4, ">IIII", 1, 1, count, 1)


def run_of(count: int) -> bytes:
    """A run of so many frames of a fragmented MP4, without a word of any of them."""

    def box(kind, *inside):
        inside = b"".join(inside)
        return struct.pack(">I4s", 8 + len(inside), kind) + inside

    return box(
        b"moof",
        box(b"mfhd", bytes(8)),
        box(
            b"traf",
            box(b"tfhd", struct.pack(">II", 0x20000, 1)),
            box(b"trun", struct.pack(">II", 0, count)),
        ),
    )


def test_headers_that_promise_too_much(originals, tmp_path):
    """10^9 frames in a few kB, images of 60000 x 60000: refused, or read as what is there.

    Without the memory that they promise.
    """
    mp4, mov, avi, webm = (originals[name] for name in ("a.mp4", "b.mov", "f.avi", "e.webm"))
    large, start = struct.pack(">HH", 60000, 60000), avi.index(b"strf") + 12
    tall = changed(mov, b"mp4v", 24, ">HH", 60000, 60000)
    head = avi[:start] + struct.pack("<ii", 60000, 60000) + avi[start + 8 :]
    frame = b"\xff\xc0\x00\x11\x08"
    hostile = {f"frames{n}.mp4": many(mp4, n) for n in (10**6, 8 * 10**7, 10**9, 2**32 - 1)} | {
        "run.mp4": mp4 + run_of(10**8),
        "table.mp4": changed(mp4, b"stsz", 8, ">I", 10**9),
        "size.mp4": changed(mp4, b"avc1", 24, ">HH", 60000, 60000),
        "tall.mov": changed(tall, b"tkhd", 76, ">II", 60000 << 16, 60000 << 16),
        "head.avi": changed(head, b"avih", 20, "<I", 10**9),
        "frame.avi": avi.replace(frame + struct.pack(">HH", 32, 48), frame + large),
        "key.webm": changed(webm, b"\x9d\x01\x2a", 0, "<HH", 16383, 16383),
        "wide.webm": changed(webm, b"\xb0\x81", 0, ">B", 255),
    }
    for name, data in hostile.items():
        assert data not in originals.values(), name
        (tmp_path / name).write_bytes(data)
    results = judged(tmp_path, len(hostile))
    counted = [name for name in results if name.startswith(("frames", "run", "table"))]
    assert all("promises" in results[name] for name in counted), results


def test_nothing_but_the_file_itself_is_read(originals, tmp_path, monkeypatch):
    """Playlists that name a good video elsewhere, and names that are protocols to a library."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "good.mp4").write_bytes(originals["a.mp4"])
    lists = [
        "ffconcat version 1.0\nfile '{0}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n",
        "{0}\n",
        "RTSPtextRTSP://{0}\r\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        '<Period><AdaptationSet><Representation id="0" bandwidth="1">'
        "<BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    ]
    count, elsewhere = 0, f"{outside}/good.mp4"
    for target in (
        elsewhere,
        "../outside/good.mp4",
        f"file:{elsewhere}",
        f"concat:{elsewhere}",
        "http://127.0.0.1:9/good.mp4",
    ):
        for text in lists:
            for suffix in ("mp4", "avi", "mkv", "mov"):
                (inside / f"{count:03d}.{suffix}").write_text(text.format(target))
                count += 1
    assert not [name for name, what in judged(inside, count).items() if what == "read"]
    monkeypatch.chdir(outside)
    for name in (
        "concat:good.mp4",
        "subfile,,start,0,end,0,,:good.mp4",
        "file:good.mp4",
        "cache:good.mp4",
    ):
        assert "not a readable video" in opened(Path(name)), (
            "no such file, whatever a protocol would make of its name"
        )


if __name__ == "__main__":
    visit(Path(sys.argv[1]))
