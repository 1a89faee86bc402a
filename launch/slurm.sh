#!/usr/bin/env bash
# Run an experiment on a Slurm cluster of GPU nodes: one process a GPU, found by jax.distributed
# from Slurm's own variables.
#
#     sbatch --nodes=4 launch/slurm.sh pretrain --model=large --workdir=/shared/runs/large
#     launch/slurm.sh --dry_run pretrain --model=large --workdir=/shared/runs/large
#
# Slurm sends SIGTERM two minutes before the end of the time, or when a node is wanted back. The run
# saves (status 143), and the job puts itself back into the queue; after a fault it does so ten times
# at most, after a mistake (status 2) never. It is done when result.json is in the workdir, which all
# nodes must see. A node that fails puts the job back by itself (--requeue).
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
case ${1:-} in -h | --help) help_asked "$1" ;; esac

dry_run=false
if [ "${1:-}" = --dry_run ]; then
    dry_run=true
    shift
fi
experiment "$@"
workdir=$(made_in "$@")
[ -n "$workdir" ] || fail "got no --workdir; expected one that every node can see, as in --workdir=/shared/runs/base"
name=$1
shift

cd "$root"
# Since 22.05 srun does not take --cpus-per-task from the job: without, a process has one CPU.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-12}
run launch/setup.sh cuda # once, on the first node: the checkout is on the shared disk
step=(srun --kill-on-bad-exit=1 .venv/bin/python -m "experiments.$name" "$@" --distributed)
if [ "$dry_run" = true ]; then
    quoted "${step[@]}"
    quoted scontrol requeue "${SLURM_JOB_ID:-JOB}"
    exit
fi
# Steps hear it; this script, which is no step, goes on.
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM
"${step[@]}" &
pid=$!
status=0
wait "$pid" || status=$?
while kill -0 "$pid" 2>/dev/null; do
    status=0
    wait "$pid" || status=$?
done
if [ "$status" = 0 ] && ! finished "$name" "$workdir"; then
    echo "slurm.sh: the run ended with 0, but there is no $workdir/result.json" >&2
    status=1
fi
case $status in
    0 | 2) ;;
    143) scontrol requeue "$SLURM_JOB_ID" ;;
    *) [ "${SLURM_RESTART_COUNT:-0}" -ge 10 ] || scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$status"
