"""The benchmark for a lent GPU, as far as a CPU can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import gpu
    import gpu_environment
finally:
    sys.path.pop(0)

FITS = {
    "torch": "2.11.0+cu130",
    "cuda": "13.0",
    "driver": "580.65.06",
    "capability": [9, 0],
    "architectures": ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"],
}


@pytest.mark.parametrize(
    "change, wanted",
    [
        ({}, None),
        ({"capability": [8, 9]}, None),  # by the kernels of 8.0
        ({"driver": "550.54"}, "driver 550.54 does not serve.*CUDA 12"),
        ({"driver": "390.1"}, "install 580 or newer"),
        ({"driver": None, "capability": None}, "no NVIDIA driver"),
        ({"cuda": None, "torch": "2.11.0+cpu"}, "built for CPUs.*CUDA 13"),
        ({"capability": [7, 0]}, r"sm_70.*CUDA 12.6"),
        ({"capability": [12, 0], "architectures": ["sm_80", "sm_90"]}, r"sm_120.*12.8 or newer"),
        ({"capability": [12, 0], "architectures": ["sm_90", "compute_90"]}, None),  # by its PTX
    ],
)
def test_what_does_not_fit_is_told_with_its_remedy(change, wanted):
    import re

    said = gpu_environment.remedy(FITS | change)
    assert said is None if wanted is None else re.search(wanted, said), said


def test_a_line_that_the_limit_cut_costs_only_itself(tmp_path):
    log = tmp_path / "log"
    log.write_text('RESULT {"a": {"x": 1}}\nnoise\nRESULT {"a": {"y": 2}}\nRESULT {"b": ')
    assert gpu.told(log) == {"a": {"x": 1, "y": 2}}


def test_every_stage_runs_in_its_tiny_form(tmp_path):
    """The paper's own two stages are those of `lean` with another recipe, which `parity` has."""
    stages = [s for s in gpu.LIMITS if s not in ("steps_paper", "compiled_paper")]
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path), "--only", *stages],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {stage: found[stage]["state"] for stage in stages} == dict.fromkeys(stages, "done")
    assert "error" not in json.dumps(found)
    rows = [row for row in found["parity"].values() if isinstance(row, dict)]
    assert len(rows) == 5 and all(row["within"] for row in rows)
    assert found["ranks"]["wrapped"] == "DistributedDataParallel"
    scored = found["training"]
    assert scored["facts"]["steps"] == 4
    assert scored["trained"]["mpjpe"] > 0 and scored["mean_pose"]["mpjpe"] > 0
    assert (tmp_path / "lean.safetensors").is_file()
    assert "| trained |" in (tmp_path / "gpu.md").read_text()
