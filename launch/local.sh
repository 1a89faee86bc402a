#!/usr/bin/env bash
# Run an experiment on this machine, on all its devices: one process, or several that work together
# as several hosts would.
#
#     launch/local.sh -- pretrain --model=base
#     launch/local.sh --processes=4 --devices=2 -- pretrain --mesh=data:8
#
#     --processes=1   how many; process 0 alone prints to the terminal, the others to --logs
#     --devices=N     simulated CPU devices a process; by default those that are there
#     --port=29500    of process 0, where the others meet it
#     --logs=runs/logs
#     --dry_run       print what would be run
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"

processes=1 devices="" port=29500 logs=runs/logs dry_run=false
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --processes=*) processes=${1#*=}; number processes "$processes" ;;
        --devices=*) devices=${1#*=}; number devices "$devices" ;;
        --port=*) port=${1#*=}; number port "$port" ;;
        --logs=*) logs=${1#*=} ;;
        --dry_run) dry_run=true ;;
        *) fail "got '$1'; expected --processes, --devices, --port, --logs, --dry_run, then -- and the experiment" ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
experiment "$@"
name=$1
shift

cd "$root"
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
command=("$python" -m "experiments.$name" "$@")
[ -n "$devices" ] && command=(env "JAX_PLATFORMS=cpu" "JAX_NUM_CPU_DEVICES=$devices" "${command[@]}")
if [ "$processes" = 1 ]; then
    run "${command[@]}"
    exit
fi

started=()
# A signal to this script is meant for the run: process 0 hears it, and all save the same step.
trap 'for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done' TERM INT
[ "$dry_run" = true ] || mkdir -p "$logs"
for ((id = 0; id < processes; id++)); do
    one=("${command[@]}" "--coordinator=localhost:$port" "--processes=$processes" "--process_id=$id")
    if [ "$dry_run" = true ]; then
        quoted "${one[@]}"
    elif [ "$id" = 0 ]; then
        "${one[@]}" &
        started+=($!)
    else
        "${one[@]}" >"$logs/process_$id.log" 2>&1 &
        started+=($!)
    fi
done

status=0
for pid in "${started[@]}"; do
    code=0
    wait "$pid" || code=$?
    while kill -0 "$pid" 2>/dev/null; do # a trapped signal ended the wait, not the process
        code=0
        wait "$pid" || code=$?
    done
    [ "$code" = 0 ] || status=$code
done
exit "$status"
