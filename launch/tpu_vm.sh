#!/usr/bin/env bash
# Run an experiment on Cloud TPU VMs through queued resources.
#
#     launch/tpu_vm.sh create --name=base --zone=us-west4-a --type=v5litepod-16 [--spot]
#     launch/tpu_vm.sh run    --name=base --zone=us-west4-a -- pretrain --model=base --workdir=/mnt/disk/run
#     launch/tpu_vm.sh logs   --name=base --zone=us-west4-a
#     launch/tpu_vm.sh resume --name=base --zone=us-west4-a --type=v5litepod-16 --spot -- pretrain …
#     launch/tpu_vm.sh delete --name=base --zone=us-west4-a
#
# create  asks for the machines and waits until they are there; does nothing where they are
# run     copies this checkout to every worker, installs it there (launch/setup.sh tpu) and runs the
#         experiment on all of them with --distributed: jax finds the others by the platform's
#         metadata
# logs    follows the log of worker --worker (default 0)
# resume  create and run, again whenever the machines were taken away, until the experiment ends by
#         itself; the workdir must outlive the machines, so that the same command continues
# delete  gives the machines back; does nothing where there are none
#
#     --project=…  default: gcloud's        --runtime=…  default: the one for the type
#     --poll=30    seconds between looks    --dry_run    print what would be run
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"

action=${1:-}
case $action in
    create | run | logs | resume | delete) shift ;;
    *) fail "got '$action'; expected create, run, logs, resume or delete" ;;
esac
name="" zone="" type="" project="" runtime="" worker=0 poll=30 spot=false dry_run=false
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --zone=*) zone=${1#*=} ;;
        --type=*) type=${1#*=} ;;
        --project=*) project=${1#*=} ;;
        --runtime=*) runtime=${1#*=} ;;
        --worker=*) worker=${1#*=} ;;
        --poll=*) poll=${1#*=}; number poll "$poll" ;;
        --spot) spot=true ;;
        --dry_run) dry_run=true ;;
        *) fail "got '$1'; expected --name, --zone, --type, --project, --runtime, --worker, --poll, --spot or --dry_run, then -- and the experiment" ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
[ -n "$name" ] || fail "got no --name; expected one, as in --name=base"
case $name in
    *[!a-z0-9-]* | -* | [0-9]*) fail "got --name=$name; expected small letters, digits and hyphens" ;;
esac
[ -n "$zone" ] || fail "got no --zone; expected one, as in --zone=us-west4-a"
case $action in
    create | resume) [ -n "$type" ] || fail "got no --type; expected one, as in --type=v5litepod-16" ;;
esac
case $action in
    run | resume) experiment "$@" ;;
    *) [ $# -eq 0 ] || fail "got '$1' after --; expected an experiment with run and resume only" ;;
esac
case $type in
    v5litepod-*) : "${runtime:=v2-alpha-tpuv5-lite}" ;;
    v5p-*) : "${runtime:=v2-alpha-tpuv5}" ;;
    v6e-*) : "${runtime:=v2-alpha-tpuv6e}" ;;
    v4-*) : "${runtime:=tpu-ubuntu2204-base}" ;;
    "") ;;
    *) [ -n "$runtime" ] || fail "got --type=$type; expected v4-…, v5litepod-…, v5p-… or v6e-…, or --runtime" ;;
esac

where=("--zone=$zone")
[ -z "$project" ] || where+=("--project=$project")
queue=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)

# The state of the request: ACCEPTED, PROVISIONING, ACTIVE, SUSPENDED, FAILED …; empty: there is none.
state() {
    "${queue[@]}" describe "$name" "${where[@]}" "--format=value(state.state)" 2>/dev/null || true
}

create() {
    local request=("${queue[@]}" create "$name" "--node-id=$name" "--accelerator-type=$type"
        "--runtime-version=$runtime" "${where[@]}")
    [ "$spot" = false ] || request+=(--spot)
    if [ "$dry_run" = true ]; then
        quoted "${request[@]}"
        return
    fi
    local now
    while now=$(state); do
        case $now in
            ACTIVE) return ;;
            "") "${request[@]}" || fail "gcloud refused the request: see above" ;;
            SUSPENDED | FAILED) delete ;; # taken away, or never given: ask anew
        esac
        sleep "$poll"
    done
}

delete() {
    if [ "$dry_run" = true ] || [ -n "$(state)" ]; then
        run "${queue[@]}" delete "$name" "${where[@]}" --force --quiet
    fi
}

# The checkout as git knows it, with changes that are not committed yet.
copy_and_run() {
    local archive command
    scratch=$(mktemp -d) # a name that nobody can have made before
    trap 'rm -rf "$scratch"' EXIT
    archive=$scratch/bert_jax.tar.gz
    run sh -c "cd '$root' && git ls-files --cached --others --exclude-standard -z | tar --null -czf '$archive' -T -" || return
    run "${vm[@]}" scp "$archive" "$name:bert_jax.tar.gz" "${where[@]}" --worker=all ||
        return
    command="mkdir -p bert_jax && tar -xzf bert_jax.tar.gz -C bert_jax && cd bert_jax"
    command+=" && launch/setup.sh tpu"
    command+=" && .venv/bin/python -m experiments.$(quoted "$@" --distributed) 2>&1 | tee -a run.log"
    run "${vm[@]}" ssh "$name" "${where[@]}" --worker=all "--command=set -o pipefail; $command"
}

case $action in
    create) create ;;
    run) copy_and_run "$@" ;;
    logs) run "${vm[@]}" ssh "$name" "${where[@]}" "--worker=$worker" "--command=tail -n 100 -f bert_jax/run.log" ;;
    delete) delete ;;
    resume)
        while :; do
            create
            status=0
            copy_and_run "$@" || status=$?
            [ "$dry_run" = false ] || break
            # Machines that are taken away stop the run with SIGTERM: it saves and exits 0. Whether
            # it ended by itself is told by the machines: are they still there a little later?
            sleep "$poll"
            if [ "$(state)" = ACTIVE ]; then
                [ "$status" = 0 ] || fail "the experiment failed, and the machines are there: see $0 logs"
                break
            fi
            echo "tpu_vm.sh: $name was taken away; asking anew" >&2
        done
        ;;
esac
