"""Ranks: two of them take the steps of one process with the double batch, and a lost one costs no
more than a checkpoint's distance."""

import os
import runpy
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from test_train_run import command, rows, same, start, steps_in, until, walk  # noqa: F401  (walk is a fixture)

from bkind3d_lite import distributed
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.training.checkpoints import read_header

CHILD = textwrap.dedent("""
    import sys, torch
    sys.path.insert(0, sys.argv[1])
    from dataclasses import fields, replace
    from test_distributed import VARIANTS
    from test_training import TINY, figure, survey
    from bkind3d_lite import distributed
    from bkind3d_lite.clips.clip import SurveyedClip
    from bkind3d_lite.clips.sessions import Sessions
    from bkind3d_lite.training import batches, begin, train
    from bkind3d_lite.training.session_training import session_batches

    def wide(x):
        return x.double() if torch.is_tensor(x) and x.is_floating_point() else x

    def doubled(part):  # in float64: what differs is no rounding that training has amplified
        return replace(part, **{f.name: wide(getattr(part, f.name)) for f in fields(part)})

    clip, told = figure(40, views=3), {}
    seen = survey(clip)
    other = figure(24, views=3, seed=1)
    parts = SurveyedClip(clip, seen), SurveyedClip(other, survey(other))
    sessions = Sessions(parts, ("one", "other"))
    with distributed.joined("cpu") as device:
        for name, change in VARIANTS.items():
            share = 2 // distributed.world_size()
            recipe = TINY.with_(warmup=0, batch=share, optimizer="sgd", learning_rate=1e-2)
            run, grads = begin(recipe.with_(**change), clip, device=device), {}
            run.model.double()
            run.objective.double()
            drawn = batches(run, clip, seen)
            if name == "two sessions":
                drawn = session_batches(run, sessions)
            pairs = (replace(doubled(pair), rig=doubled(pair.rig)) for pair in drawn)
            parameters = dict(run.model.named_parameters())
            parameters = {n: p for n, p in parameters.items() if p.requires_grad}
            run.optimizer.register_step_pre_hook(
                lambda *_: grads.update({n: p.grad.clone() for n, p in parameters.items()})
            )
            for step in train(run, pairs):
                if step.index == 2:
                    break
            weights, means = run.model.state_dict(), run.objective.state_dict()
            told[name] = {"grads": grads, "weights": weights, "means": means}
            told[name]["losses"] = step.losses
        if distributed.rank() == 0:
            torch.save(told, sys.argv[2])
""")
VARIANTS = {
    "plain": {},
    "two sessions": {},  # a step of each
    "one by one": {"decode_per_view": True},
    "checkpointing": {"checkpointing": True},
    "both, as the paper's": {
        "checkpointing": True,
        "decode_per_view": True,
        "decoder_widths": (8, 8, 8),
        "v2v_full": True,
        "pyramid": True,
    },
    "a student": {
        "lift": "integral",
        "explain": "labels",
        "draw": "points",
        "perceptual": "pixels",
        "separate": 0.0,
        "length": 0.0,
        "depth_cells": 4,
        "background": False,
    },
}
HERE = Path(__file__).parent


def python(*words, **environment):
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What one process with the double batch says of every variant after two steps, and what two
    ranks say."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "child.py").write_text(CHILD)
    with pytest.MonkeyPatch.context() as patch:  # alone: in this process
        patch.setattr(sys, "argv", ["child.py", str(HERE), str(folder / "one.pt")])
        patch.syspath_prepend(str(HERE))
        runpy.run_path(str(folder / "child.py"))
    two = python(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        2,
        folder / "child.py",
        HERE,
        folder / "two.pt",
    )
    assert two.returncode == 0, two.stderr
    return [torch.load(folder / f"{n}.pt", weights_only=True) for n in ("one", "two")]


@pytest.mark.parametrize("name", VARIANTS)
def test_two_ranks_are_one_process_with_the_double_batch(told, name):
    """Also where gradients are taken inside the forward pass (one by one) or the forward pass is
    run twice (checkpointing)."""
    one, two = (t[name] for t in told)
    whole = torch.cat([g.flatten() for g in one["grads"].values()]).norm()
    assert whole > 0.1, "the second step had gradients to compare"
    assert all(
        g.abs().max() > 0
        for n, g in one["grads"].items()
        if n.startswith("decoder") and n.endswith("weight")
    ), "the decoder's, too"
    for kind in ("grads", "weights", "means"):
        assert one[kind].keys() == two[kind].keys()
        for key, value in one[kind].items():
            least = 1e-9 * (float(whole) if kind == "grads" else 1.0)
            torch.testing.assert_close(
                two[kind][key], value, rtol=1e-6, atol=least, msg=f"{kind} {key}"
            )
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-6), (
        "what is logged is the mean over ranks"
    )
    assert name == "a student" or (one["means"]["length.average"] > 0).all()


def test_the_ranks_share_the_pairs_of_one_process():
    clip = figure(40, views=3)
    settings = dict(wh=(48, 32), gap=(2, 5), seed=3, start=7, turn=True)
    whole = clip.batches(batch=4, **settings)
    parts = [clip.batches(batch=2, share=(r, 2), **settings) for r in (0, 1)]
    for _ in range(3):
        one, (a, b) = next(whole), (next(p) for p in parts)
        for key in ("index", "now", "later", "turn", "turn_later"):
            assert torch.equal(torch.cat([getattr(a, key), getattr(b, key)]), getattr(one, key)), (
                key
            )


def test_a_lost_rank_costs_no_more_than_the_last_checkpoint(walk, tmp_path):
    """kill -9 one of two ranks; the other gives up; both resume and end as two undisturbed ranks
    do."""

    def pair(name, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        told = [
            dict(
                RANK=str(r),
                LOCAL_RANK=str(r),
                WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            )
            for r in (0, 1)
        ]
        return [
            start(
                walk, tmp_path / name, "--checkpoint-every", 10, "--pictures-every", 0, *more, **t
            )
            for t in told
        ]

    children = pair("killed")
    until(lambda: steps_in(tmp_path / "killed" / "losses.csv") > 13, children[0])
    children[1].send_signal(signal.SIGKILL)
    said = [child.communicate(timeout=120)[1] for child in children]
    assert children[0].returncode == 1 and "--resume" in said[0] and "Traceback" not in said[0], (
        said[0]
    )
    assert 10 <= read_header(tmp_path / "killed" / "checkpoint.safetensors")["step"] < 40
    for words in (("killed", "--resume"), ("whole",)):
        for child in pair(*words):
            assert child.communicate(timeout=240) and child.returncode == 0
    assert same(tmp_path / "killed", tmp_path / "whole")
    assert [r["step"] for r in rows(tmp_path / "killed" / "losses.csv")] == [
        str(i) for i in range(1, 41)
    ]


def test_alone_everything_is_the_identity():
    module, values = torch.nn.Linear(2, 2), torch.ones(3)
    assert (
        distributed.world_size() == 1
        and distributed.rank() == 0
        and distributed.mean(values) is values
        and distributed.distributed_model(module) is module
    )
    assert distributed.any_rank(True) and not distributed.any_rank(False)
    with distributed.joined("cpu") as device:
        assert device == "cpu"


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="finds no GPU.*--device cpu"), distributed.joined("cuda"):
        pass
