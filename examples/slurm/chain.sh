#!/usr/bin/env bash
# A chain of jobs under a limit of hours, where nothing may be queued from inside a job.
#   ./chain.sh 6 --epochs 400      six links at most; DATA and RUN as in link.sbatch
# Each link begins where the one before ended without being done: at its limit of time (status 75),
# or with its machine. After the one that ends the run Slurm drops the rest.
set -euo pipefail

links=${1:?write ./chain.sh LINKS [options of pretrain]}
shift
here=$(dirname "$0")
after=()
for ((link = 1; link <= links; link++)); do
  job=$(sbatch --parsable "${after[@]}" "$here/link.sbatch" "$@")
  job=${job%%;*} # of several clusters the name follows
  echo "link $link of $links: job $job"
  after=(--dependency="afternotok:$job" --kill-on-invalid-dep=yes)
done
