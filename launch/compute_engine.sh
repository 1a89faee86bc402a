#!/usr/bin/env bash
# Run an experiment on TPUs as Compute Engine gives them: a managed instance group, which is one slice.
#
#     launch/compute_engine.sh resume --name=base --zone=us-east5-a --machine=ct6e-standard-4t \
#         --hosts=4 --topology=4x4 --spot -- pretrain --model=base --workdir=/mnt/shared/base
#     launch/compute_engine.sh logs   --name=base --zone=us-east5-a
#     launch/compute_engine.sh delete --name=base --zone=us-east5-a
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
#     --machine=…    ct5p-hightpu-4t, ct6e-standard-4t, tpu7x-standard-4t …
#     --hosts=1      machines of the slice    --topology=4x4  its chips, where hosts is more than 1
#     --spot         or --flex_start=2d (waits until there are some, for so long at most), or
#                    --reservation=NAME; by default on demand
#     --image=…      an image family; by default Google's for the machine
#     --project=…    default: gcloud's        --poll=30       seconds between looks
#     --dry_run      print what would be run
#
# The workdir must lie in a bucket, or on a disk that all workers mount and that outlives them. A slice
# that loses one machine is given back and asked for anew. Several slices are GKE's: launch/gke.sh.
# https://docs.cloud.google.com/compute/docs/tpus/create-tpu-mig-multi-host-slice
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"

# shellcheck source=launch/workers.sh
. "$root/launch/workers.sh"
action=${1:-}
machine="" hosts=1 topology="" image="" reservation="" flex_start=""
own_flag() {
    case $1 in
        --machine=*) machine=${1#*=} ;;
        --hosts=*) hosts=${1#*=}; number hosts "$hosts" ;;
        --topology=*) topology=${1#*=} ;;
        --image=*) image=${1#*=} ;;
        --reservation=*) reservation=${1#*=} ;;
        --flex_start=*) flex_start=${1#*=} ;;
        *) fail "got '$1'; expected --name, --zone, --machine, --hosts, --topology, --spot, --flex_start, --reservation, --image, --project, --worker, --poll or --dry_run, then -- and the experiment" ;;
    esac
}
read_flags "$@"
shift "$flags"
case $action in
    create | resume)
        [ -n "$machine" ] || fail "got no --machine; expected one, as in --machine=ct6e-standard-4t"
        case $topology,$hosts in
            ,1) ;;
            ,*) fail "got --hosts=$hosts and no --topology; expected the slice's, as in --topology=4x4" ;;
            *[!0-9x]*,* | *x,* | x*,*) fail "got --topology=$topology; expected chips by chips, as in 4x4 or 2x2x2" ;;
        esac
        ;;
esac
case $spot,$flex_start,$reservation in
    true,, | false,*, | false,,*) ;;
    *) fail "got more than one of --spot, --flex_start and --reservation; expected one at most" ;;
esac
case $machine in
    tpu7x-*) : "${image:=ubuntu-accel-2404-amd64-tpu-tpu7x}" ;;
    ct6e-* | ct5p-*) : "${image:=ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e}" ;;
    "") ;;
    *) [ -n "$image" ] || fail "got --machine=$machine; expected ct5p-…, ct6e-… or tpu7x-…, or --image" ;;
esac

own=(${project:+"--project=$project"})
region=${zone%-*}
group=(gcloud compute instance-groups managed)

# Names and states of the group's machines, a line each; status 1 where there is no group.
list() {
    "${group[@]}" list-instances "$name" "${where[@]}" "--format=value(instance.basename(),instanceStatus)"
}

machines() {
    local lines running
    if ! lines=$(list 2>"$scratch/said"); then
        missing "$scratch/said" || echo UNKNOWN
        return
    fi
    running=$(grep -c "RUNNING$" <<<"$lines" || true)
    case $lines in
        *STOP* | *TERMINATED* | *SUSPEND*) echo GONE ;;
        *) if [ "$running" -ge "$hosts" ]; then echo RUNNING; else echo WAITING; fi ;;
    esac
}

# there KIND FLAGS…: whether gcloud knows one of our name.
there() {
    [ "$dry_run" = false ] && gcloud compute "$1" describe "$name" "${@:2}" >/dev/null 2>&1
}

request() {
    local template=(gcloud compute instance-templates create "$name" "${own[@]}"
        "--machine-type=$machine" --maintenance-policy=TERMINATE "--image-family=$image"
        --image-project=ubuntu-os-accelerator-images --boot-disk-size=200GB --scopes=cloud-platform)
    local slice=("${group[@]}" create "$name" "${where[@]}" "--template=$name" "--size=$hosts"
        --default-action-on-vm-failure=do-nothing)
    if [ "$spot" = true ]; then
        template+=(--provisioning-model=SPOT --instance-termination-action=DELETE)
    elif [ -n "$flex_start" ]; then
        template+=(--provisioning-model=FLEX_START "--max-run-duration=$flex_start"
            --instance-termination-action=DELETE --reservation-affinity=none)
    elif [ -n "$reservation" ]; then
        template+=(--provisioning-model=RESERVATION_BOUND --instance-termination-action=DELETE
            --reservation-affinity=specific "--reservation=$reservation")
    fi
    if [ "$hosts" -gt 1 ]; then # machines that form a slice are given all at once
        slice+=(--target-size-policy-mode=bulk
            "--workload-policy=projects/${project:-$(gcloud config get project)}/regions/$region/resourcePolicies/$name")
        there resource-policies "${own[@]}" "--region=$region" ||
            run gcloud compute resource-policies create workload-policy "$name" "${own[@]}" \
                "--region=$region" --type=HIGH_THROUGHPUT "--accelerator-topology=$topology" || return
    fi
    there instance-templates "${own[@]}" || run "${template[@]}" || return
    run "${slice[@]}"
}

release() {
    run "${group[@]}" delete "$name" "${where[@]}" --quiet
    run gcloud compute instance-templates delete "$name" "${own[@]}" --quiet || true
    run gcloud compute resource-policies delete "$name" "${own[@]}" "--region=$region" --quiet 2>/dev/null || true
}

# The names of the workers, in order; made up under --dry_run.
workers() {
    if [ "$dry_run" = true ]; then
        printf "$name-%s\n" $(seq 0 $((hosts - 1)))
    else
        list | cut -f 1 | cut -d ' ' -f 1 | sort
    fi
}

copy_to() { run gcloud compute scp "$2" "$1:bert_jax.tar.gz" "${where[@]}"; }
on_worker() { run gcloud compute ssh "$1" "${where[@]}" "--command=$2"; }
on_one() { on_worker "$(workers | sed -n "$((worker + 1))p")" "$1"; }

act "$action" "$@"
