"""Cluster run: many recordings tracked, here or by jobs that may be stopped and go on.

For people without a workflow engine (`workflow/Snakefile` is one's). A job tracks one recording in
shards; preempted, it is submitted again and makes those that are missing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..clips.rig_checks import FAIL
from ..files import refuse_unwritable
from .index_run import read_sessions, told_error
from .shard_run import track_shards

log = logging.getLogger(__name__)
# What a job asks for, in submitit's words, unless the user says otherwise.
USUAL_JOB = {"timeout_min": 240, "cpus_per_task": 4, "mem_gb": 16, "name": "bkind3d"}
OFTEN = 100  # times that a job may reach its time limit: each time it has made some shards
NO_SUBMITIT = "--submit needs submitit: pip install submitit"


@dataclass(frozen=True)
class SessionJob:
    """One recording, tracked in shards into a folder of its own.

    Attributes:
        model: the checkpoint.
        folder: the recording.
        out: folder of its track.
        options: of `track_shards`.
    """

    model: str
    folder: str
    out: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> str:
        """Track what is missing.

        Returns:
            The folder of the track.
        """
        track_shards(self.model, self.folder, self.out, **self.options)
        return self.out

    def checkpoint(self) -> Any:
        """What submitit submits again where the job is preempted or its time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def track_sessions(
    checkpoint: str | Path,
    sessions: str | Path,
    out: str | Path,
    *,
    submit: str | None = None,
    at_once: int = 1,
    job: Sequence[str] = (),
    **options: Any,
) -> list[str]:
    """Track every recording of a table that the doctor did not fail.

    Args:
        checkpoint: a file, or a run's folder.
        sessions: the table of `index_sessions`.
        out: folder in which each recording's track has one.
        submit: `slurm`, `local` (processes of this machine), or None: in this process.
        at_once: jobs at a time.
        job: `KEY=VALUE` words of what a job asks for, as submitit knows them.
        **options: of `track_shards`.

    Returns:
        The folders of the tracks; with slurm the jobs' numbers, which are not waited for.

    Raises:
        ValueError: some recordings could not be tracked, after all others were.
    """
    out = Path(refuse_unwritable(out))
    rows = [row for row in read_sessions(sessions) if row["verdict"] != FAIL]
    model = str(Path(checkpoint).absolute())
    jobs = {
        row["name"]: SessionJob(model, row["folder"], str(out / row["name"]), options=options)
        for row in rows
    }
    log.info("%d recordings to track into %s", len(jobs), out)
    if submit is None:
        return _outcomes({name: _tried(one) for name, one in jobs.items()})
    executor = _executor(submit, out / "jobs", job, at_once)
    if submit == "slurm":
        with executor.batch():
            sent = [executor.submit(one) for one in jobs.values()]
        return [one.job_id for one in sent]
    with ThreadPoolExecutor(at_once) as pool:
        waits = {n: pool.submit(_tried, executor.submit, one) for n, one in jobs.items()}
        return _outcomes({name: wait.result() for name, wait in waits.items()})


def _tried(call: Callable[..., Any], *inputs: Any) -> str | Exception:
    """What one job comes to; of a submitted one when it has ended."""
    try:
        result = call(*inputs)
        return result.result() if inputs else result
    except Exception as error:  # one of hundreds: the others go on
        return error


def _outcomes(found: Mapping[str, str | Exception]) -> list[str]:
    """The folders of all tracks; if some failed, a sentence about each instead."""
    failed = [f"{n}: {told_error(e)}" for n, e in found.items() if isinstance(e, Exception)]
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(found)} recordings were not tracked, the others were: "
            + "; ".join(failed)
        )
    return [str(folder) for folder in found.values()]


def _executor(cluster: str, folder: Path, words: Sequence[str], at_once: int) -> Any:
    """Submitit's executor, its files in `folder`."""
    try:
        import submitit
    except ImportError as error:
        raise ValueError(NO_SUBMITIT) from error
    how = {"slurm_max_num_timeout": OFTEN, "slurm_python": sys.executable}
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, **how)
        many = {"slurm_array_parallelism": at_once}
        executor.update_parameters(**{**USUAL_JOB, **many, **_settings(words)})
    except (NameError, RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(f"--submit {cluster}: {error}") from error
    return executor


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """{key: value} of KEY=VALUE words; whole numbers are numbers."""
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"--job {word}: expected KEY=VALUE, for example mem_gb=32")
        settings[key] = int(value) if value.isdigit() else value
    return settings
