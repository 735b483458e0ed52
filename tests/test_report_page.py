"""Report page: scores that are aligned, and a page that needs no network."""

import base64
import json
import re

import matplotlib
from test_scenes import fetches

from bkind3d_lite.viz import report_page

SCORES = {
    "clip": "rat",
    "seed": 0,
    "steps": 900,
    "seconds_training": 280.5,
    "seconds_per_step": 0.31,
    "keypoints": 15,
    "device": "cpu",
    "versions": {"torch": "2"},
    "mpjpe_mm": {
        "trained": 21.34,
        "untrained": 31.2,
        "rigid_template": 33.0,
        "centroid": 36.8,
        "mean_pose": 138.1,
        "checkpoint": None,
    },
    "pmpjpe_mm": {
        "trained": 17.9,
        "untrained": 16.2,
        "centroid": float("nan"),
        "mean_pose": 22.3,
        "checkpoint": None,
    },
    "on_body": {"trained": 0.873, "untrained": 0.41, "checkpoint": None},
    "bone_distance_mm": {"trained": 14.2, "untrained": 52.0, "checkpoint": None},
    "r2_room": {"trained": 0.031, "untrained": 0.8, "checkpoint": None},
    "r2_body": {"trained": 0.912, "untrained": 0.1, "checkpoint": None},
    "turning": {"trained": 0.98, "untrained": 0.24, "checkpoint": None},
}


def test_the_score_table_is_aligned_and_marks_what_is_not_defined():
    lines = report_page.score_table(SCORES).splitlines()
    ends = [
        [m.end() for m in re.finditer(r"(?<= )(?:-|[\d.]+)(?=[* ]|$)", line)] for line in lines[1:]
    ]
    assert len(lines) == 7 and all(e == ends[0] for e in ends)
    table = {line[:14].strip(): line[14:].split() for line in lines[1:]}
    # which way a figure turns is no race: no best is marked
    assert table["trained"] == ["21.3*", "0.68", "17.9", "87.3*", "14.2*", "0.03", "0.91", "0.98"]
    assert table["checkpoint"] == ["-"] * 8
    assert table["rigid template"] == ["33.0", "1.06", *["-"] * 6]
    assert table["centroid"] == ["36.8", "1.18", *["-"] * 6]
    assert table["untrained"][2] == "16.2*"  # a baseline that wins is marked, too


def test_an_empty_report_still_makes_a_table():
    assert report_page.score_table({}).count("-") == 48


def test_the_report_is_whole_and_fetches_nothing(tracked, tmp_path):
    clip, track = tracked
    track.save(tmp_path / "keypoints.csv")
    opened = matplotlib.pyplot.get_fignums()
    rows = [{"step": str(s), "reconstruct": str(1 / s), "separate": "0.0"} for s in range(1, 50)]
    path = report_page.write_report(
        tmp_path,
        SCORES | {"clip": "<b>&"},
        report_page.pictures(clip, track, rows),
        {"rate": 1e-3, "gaps": (0.2, 0.4)},
    )
    page = path.read_text(encoding="utf-8")
    assert not fetches(page) and "http" not in page
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert (
        'href="keypoints.csv"' in page and 'href="skeleton.html"' not in page
    )  # only what is there
    for kind, data in re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page):
        assert base64.b64decode(data)[:3] == {"png": b"\x89PN", "jpeg": b"\xff\xd8\xff"}[kind]
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["mpjpe_mm"] == SCORES["mpjpe_mm"] and kept["pmpjpe_mm"]["centroid"] is None
    assert matplotlib.pyplot.get_fignums() == opened  # none is left open
