#!/usr/bin/env bash
# Run an experiment on a Slurm cluster of GPU nodes: one process a GPU, found by jax.distributed
# from Slurm's own variables. Slurm sends SIGTERM two minutes before the end of the time; the run
# saves, exits 0, and the job puts itself back into the queue until result.json is there.
#
#     sbatch --nodes=4 launch/slurm.sh pretrain --model=large --workdir=/shared/runs/large
#     launch/slurm.sh --dry_run pretrain --model=large --workdir=/shared/runs/large
#
#SBATCH --job-name=bert_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
# Slurm runs a copy of this file; the checkout is where sbatch was called.
root=${SLURM_SUBMIT_DIR:-$(cd "$(dirname "$0")/.." && pwd)}
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"

dry_run=false
if [ "${1:-}" = --dry_run ]; then
    dry_run=true
    shift
fi
experiment "$@"
workdir=""
for word in "$@"; do
    case $word in --workdir=*) workdir=${word#*=} ;; esac
done
[ -n "$workdir" ] || fail "got no --workdir; expected one that every node can see, as in --workdir=/shared/runs/base"
name=$1
shift

cd "$root"
run launch/setup.sh cuda # once, on the first node: the checkout is on the shared disk
if [ "$dry_run" = true ]; then
    quoted srun --kill-on-bad-exit=1 .venv/bin/python -m "experiments.$name" "$@" --distributed
    quoted scontrol requeue "${SLURM_JOB_ID:-JOB}"
    exit
fi
srun --kill-on-bad-exit=1 .venv/bin/python -m "experiments.$name" "$@" --distributed &
step=$!
# Steps hear it; this script, which is no step, goes on.
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM
status=0
wait "$step" || status=$?
while kill -0 "$step" 2>/dev/null; do
    status=0
    wait "$step" || status=$?
done
if [ "$status" = 0 ] && ! [ -f "$workdir/result.json" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
