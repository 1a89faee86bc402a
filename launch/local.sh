#!/usr/bin/env bash
# Run an experiment on this machine, on all its devices: one process, or several that work together
# as several hosts would.
#
#     launch/local.sh -- pretrain --model=base
#     launch/local.sh --processes=4 --devices=2 -- pretrain --mesh=data:8
#     launch/local.sh --restarts=10 -- pretrain --model=base --workdir=/disk/base
#
#     --processes=1   how many; process 0 alone prints to the terminal, the others to --logs
#     --devices=N     simulated CPU devices a process; by default those that are there
#     --port=29500    of process 0, where the others meet it
#     --logs=runs/logs
#     --restarts=0    how often to start it again after a fault (a process that was killed, a disk
#                     that went away), from the newest checkpoint
#     --dry_run       print what would be run
#
# Ctrl-C and SIGTERM go to the run. It ends with the run's status: 0 finished, 143 stopped and saved,
# 2 a mistake, any other a fault (docs/launching.md).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"

processes=1 devices="" port=29500 logs=runs/logs restarts=0 dry_run=false
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --processes=*) processes=${1#*=}; number processes "$processes" ;;
        --devices=*) devices=${1#*=}; number devices "$devices" ;;
        --port=*) port=${1#*=}; number port "$port" ;;
        --logs=*) logs=${1#*=} ;;
        --restarts=*) restarts=${1#*=}; [ "$restarts" = 0 ] || number restarts "$restarts" ;;
        --dry_run) dry_run=true ;;
        *) fail "got '$1'; expected --processes, --devices, --port, --logs, --restarts, --dry_run, then -- and the experiment" ;;
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

if [ "$processes$restarts$dry_run" = 10false ]; then
    exec "${command[@]}"
fi

started=() told=false
# A signal to this script is meant for the run: one process hears it, and all save the same step.
# shellcheck disable=SC2329 # the trap calls it
forward() {
    told=true
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
}

# Start all processes; prints them where nothing is to be run.
start() {
    local id one
    started=()
    for ((id = 0; id < processes; id++)); do
        one=("${command[@]}")
        [ "$processes" = 1 ] ||
            one+=("--coordinator=localhost:$port" "--processes=$processes" "--process_id=$id")
        if [ "$dry_run" = true ]; then
            quoted "${one[@]}"
        elif [ "$id" = 0 ]; then
            "${one[@]}" &
            started+=($!)
        else
            mkdir -p "$logs"
            "${one[@]}" >>"$logs/process_$id.log" 2>&1 &
            started+=($!)
        fi
    done
}

# Wait for all; the status is that of a mistake, else of a fault, else of a stop, else 0.
finish() {
    local pid code worst=0
    for pid in "${started[@]}"; do
        code=0
        wait "$pid" || code=$?
        while kill -0 "$pid" 2>/dev/null; do # a trapped signal ended the wait, not the process
            code=0
            wait "$pid" || code=$?
        done
        case $worst,$code in
            *,0 | 2,*) ;;
            *,2) worst=2 ;;
            0,* | 143,*) worst=$code ;;
        esac
    done
    return "$worst"
}

trap forward TERM INT
while :; do
    start
    status=0
    finish || status=$?
    case $status in 0 | 2 | 129 | 130 | 143) break ;; esac
    [ "$told" = false ] && [ "$restarts" -gt 0 ] || break
    restarts=$((restarts - 1))
    echo "local.sh: it ended with status $status; starting it again, and $restarts times more" >&2
done
exit "$status"
