"""The scripts of examples/slurm, with programs in the place of Slurm's and of the run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "examples" / "slurm"
EVERY = sorted(SCRIPTS.iterdir())
RUNS = ["one_gpu.sbatch", "two_nodes.sbatch", "seeds.sbatch"]

# srun without its options runs every task; what was called is told in `calls`.
FAKES = {
    "srun": """
        while [[ $1 == -* ]]; do shift; done
        for ((task = 0; task < SLURM_NTASKS; task++)); do
          SLURM_PROCID=$task SLURM_LOCALID=$((task % 4)) "$@" & tasks+=($!)
        done
        trap 'kill -USR1 "${tasks[@]}"' USR1
        for task in "${tasks[@]}"; do
          wait "$task"; wait "$task" || worst=$?
        done
        exit "${worst:-0}" """,
    "scontrol": """
        if [[ $1 == show ]]; then printf 'node1\\nnode2\\n'; exit; fi
        echo "scontrol $*" >>calls""",
    "sbatch": """
        echo "sbatch $*" >>calls
        echo "$(wc -l <calls);cluster" """,
    # Saves and ends when it is warned, if it was told to wait.
    "domainjepa": """
        trap 'exit 143' USR1
        echo "RANK=${RANK-} LOCAL_RANK=${LOCAL_RANK-} WORLD_SIZE=${WORLD_SIZE-}" \
             "MASTER=${MASTER_ADDR-}:${MASTER_PORT-} $*" >>calls
        if [[ ${STATUS-} ]]; then exit "$STATUS"; fi
        touch "waiting$$"; while :; do sleep 0.02; done""",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in FAKES.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/usr/bin/env bash\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def started(place: Path, *words: str | Path, **env: str) -> subprocess.Popen[str]:
    slurm = {"SLURM_JOB_ID": "41", "SLURM_NTASKS": "1", "SLURM_ARRAY_TASK_ID": "3"}
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", *words],
        cwd=place,
        env={**slurm, "SLURM_JOB_NODELIST": "node[1-2]", "PATH": path, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calls(place: Path) -> list[str]:
    return (place / "calls").read_text().splitlines()


@pytest.mark.parametrize("script", RUNS)
def test_a_warning_saves_and_queues_the_job_again(place: Path, script: str) -> None:
    job = started(place, SCRIPTS / script, "--steps", "9", SLURM_NTASKS="2")
    while len(list(place.glob("waiting*"))) < 2:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)  # to the batch shell alone, as B: asks
    assert job.wait(20) == 0, job.communicate()
    *runs, last = calls(place)
    assert last == "scontrol requeue 41"
    assert len(runs) == 2
    assert all("--steps 9" in run and "--resume" not in run for run in runs)


@pytest.mark.parametrize("script", [*RUNS, "link.sbatch"])
@pytest.mark.parametrize("status", ["0", "2", "75"])
def test_the_status_of_the_run_is_that_of_the_job(place: Path, script: str, status: str) -> None:
    run = place / ("runs/x-seed3" if script == "seeds.sbatch" else "runs/x")
    run.mkdir(parents=True)
    (run / "config.toml").touch()
    job = started(place, SCRIPTS / script, STATUS=status, RUN="runs/x", DATA="my data.h5")
    out, errors = job.communicate(timeout=20)
    assert (job.returncode, out, errors) == (int(status), "", "")
    (call,) = calls(place)
    assert "pretrain --data my data.h5 --out runs/x" in call
    assert call.endswith(" --resume"), "there is a run already"
    assert ("--max-hours 11.5" in call) == (script == "link.sbatch")
    assert ("--out runs/x-seed3 --seed 3" in call) == (script == "seeds.sbatch")


def test_every_process_of_two_machines_knows_its_rank(place: Path) -> None:
    job = started(place, SCRIPTS / "two_nodes.sbatch", STATUS="0", SLURM_NTASKS="8")
    assert job.wait(20) == 0, job.communicate()
    told = sorted(call.partition(" pretrain")[0] for call in calls(place))
    assert told == [
        f"RANK={rank} LOCAL_RANK={rank % 4} WORLD_SIZE=8 MASTER=node1:20041" for rank in range(8)
    ]


def test_each_link_of_a_chain_waits_for_the_one_before(place: Path) -> None:
    job = started(place, SCRIPTS / "chain.sh", "3", "--epochs", "400")
    out, errors = job.communicate(timeout=20)
    assert job.returncode == 0, errors
    link = f"{SCRIPTS}/link.sbatch --epochs 400"
    after = "--kill-on-invalid-dep=yes"
    assert calls(place) == [
        f"sbatch --parsable {link}",
        f"sbatch --parsable --dependency=afternotok:1 {after} {link}",
        f"sbatch --parsable --dependency=afternotok:2 {after} {link}",
    ]
    assert out.splitlines()[-1] == "link 3 of 3: job 3"


def test_bash_and_shellcheck_find_nothing(tmp_path: Path) -> None:
    for script in EVERY:
        subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; bash -n found nothing")
    subprocess.run([shellcheck, *EVERY], check=True)
