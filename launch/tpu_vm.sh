#!/usr/bin/env bash
# Run an experiment on TPUs through the Cloud TPU API and its queued resources: the way before Compute
# Engine's, which gets nothing new and does not know TPU7x. See launch/compute_engine.sh first.
#
#     launch/tpu_vm.sh resume --name=base --zone=us-west4-a --type=v5litepod-16 --spot \
#         -- pretrain --model=base --workdir=/mnt/shared/base
#     launch/tpu_vm.sh logs   --name=base --zone=us-west4-a
#     launch/tpu_vm.sh delete --name=base --zone=us-west4-a
#
# create  asks for the machines and waits until they are there; does nothing where they are
# run     copies this checkout to every worker, installs it there (launch/setup.sh tpu) and starts the
#         experiment as a systemd unit, which goes on when you log out (launch/worker.sh)
# resume  create and run, again whenever the machines were taken away, until the experiment has ended.
#         Interrupt it and say the same again: it goes on watching. Ends with 0 when the run is
#         finished, 2 after a mistake, 1 after ten faults in an hour
# logs    follows what worker --worker=0 prints        status  a word for each worker
# stop    lets the experiment save and end             delete  gives the machines back
#
#     --slices=1   of that type each; what their machines send each other passes the network, and the
#                  mesh's axis dcn (Multislice)
#     --project=…  default: gcloud's        --runtime=…  default: the one for the type
#     --poll=30    seconds between looks    --dry_run    print what would be run
#
# The workdir must lie in a bucket, or on a disk that all workers mount and that outlives them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"

# shellcheck source=launch/workers.sh
. "$root/launch/workers.sh"
action=${1:-}
type="" runtime="" slices=1
own_flag() {
    case $1 in
        --type=*) type=${1#*=} ;;
        --runtime=*) runtime=${1#*=} ;;
        --slices=*) slices=${1#*=}; number slices "$slices" ;;
        *) fail "got '$1'; expected --name, --zone, --type, --slices, --project, --runtime, --worker, --poll, --spot or --dry_run, then -- and the experiment" ;;
    esac
}
read_flags "$@"
shift "$flags"
case $action in
    create | resume) [ -n "$type" ] || fail "got no --type; expected one, as in --type=v5litepod-16" ;;
esac
case $type in
    v5litepod-*) : "${runtime:=v2-alpha-tpuv5-lite}" ;;
    v5p-*) : "${runtime:=v2-alpha-tpuv5}" ;;
    v6e-*) : "${runtime:=v2-alpha-tpuv6e}" ;;
    v4-*) : "${runtime:=tpu-ubuntu2204-base}" ;;
    "") ;;
    *) [ -n "$runtime" ] || fail "got --type=$type; expected v4-…, v5litepod-…, v5p-… or v6e-…, or --runtime" ;;
esac

[ "$slices" = 1 ] || told+=("--slices=$slices")
queue=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)

machines() {
    local state
    if ! state=$("${queue[@]}" describe "$name" "${where[@]}" "--format=value(state.state)" 2>"$scratch/said"); then
        missing "$scratch/said" || echo UNKNOWN
        return
    fi
    case $state in
        ACTIVE) echo RUNNING ;;
        SUSPEND* | FAILED) echo GONE ;;
        *) echo WAITING ;;
    esac
}

request() {
    local request=("${queue[@]}" create "$name") # a slice is a node
    if [ "$slices" = 1 ]; then
        request+=("--node-id=$name")
    else
        request+=("--node-count=$slices" "--node-prefix=$name")
    fi
    request+=("--accelerator-type=$type" "--runtime-version=$runtime" "${where[@]}")
    [ "$spot" = false ] || request+=(--spot)
    run "${request[@]}"
}

release() { run "${queue[@]}" delete "$name" "${where[@]}" --force --quiet; }

# The names of the slices, whose machines gcloud knows by numbers.
workers() {
    if [ "$slices" = 1 ]; then echo "$name"; else printf "$name-%s\n" $(seq 0 $((slices - 1))); fi
}

copy_to() { run "${vm[@]}" scp "$2" "$1:bert_jax.tar.gz" "${where[@]}" --worker=all; }
on_worker() { run "${vm[@]}" ssh "$1" "${where[@]}" "--worker=${3:-all}" "--command=$2"; }
on_one() { on_worker "$(workers | head -n 1)" "$1" "$worker"; }

act "$action" "$@"
