#!/usr/bin/env bash
# Run an experiment on GKE as a JobSet: one pod a host, started anew together after a preemption.
#
#     launch/gke.sh --name=base --image=…/bert_jax:1 --accelerator=tpu-v5-lite-podslice \
#         --topology=4x4 --hosts=4 --chips=4 -- pretrain --model=base --workdir=/data/runs/base
#
#     --name         of the JobSet           --accelerator  the node label of the TPU's kind
#     --image        has this checkout as    --topology     the node label of its shape
#                    its working directory   --hosts        pods; --chips, TPU chips in each
#     --restarts=10  before it gives up      --claim        a volume claim mounted at /data
#     --dry_run      print the YAML
#
# Needs the JobSet controller: https://jobset.sigs.k8s.io. The same command again changes nothing.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"

name="" image="" accelerator="" topology="" hosts=1 chips=4 restarts=10 claim="" dry_run=false
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --image=*) image=${1#*=} ;;
        --accelerator=*) accelerator=${1#*=} ;;
        --topology=*) topology=${1#*=} ;;
        --hosts=*) hosts=${1#*=}; number hosts "$hosts" ;;
        --chips=*) chips=${1#*=}; number chips "$chips" ;;
        --restarts=*) restarts=${1#*=}; number restarts "$restarts" ;;
        --claim=*) claim=${1#*=} ;;
        --dry_run) dry_run=true ;;
        *) fail "got '$1'; expected --name, --image, --accelerator, --topology, --hosts, --chips, --restarts, --claim or --dry_run, then -- and the experiment" ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
for needed in name image accelerator topology; do
    [ -n "${!needed}" ] || fail "got no --$needed; expected one: see the top of $0"
done
for label in "$name" "$accelerator" "$topology" ${claim:+"$claim"}; do
    case $label in
        *[!a-z0-9.-]*) fail "got '$label'; expected small letters, digits, dots and hyphens" ;;
    esac
done
experiment "$@"

# json WORD: as a JSON string, which YAML reads as it is.
json() {
    local word=${1//\\/\\\\}
    printf '"%s"' "${word//\"/\\\"}"
}

yaml() {
    cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
spec:
  failurePolicy:
    maxRestarts: $restarts
  replicatedJobs:
    - name: hosts
      replicas: 1
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          backoffLimit: 0 # one pod that fails ends all: the JobSet starts them together again
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 120 # to save after SIGTERM
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $topology
              containers:
                - name: experiment
                  image: $(json "$image")
                  command: [".venv/bin/python", "-m", $(json "experiments.$1")]
                  args:
$(shift; for word in "$@" --distributed; do echo "                    - $(json "$word")"; done)
                  ports:
                    - containerPort: 8471 # jax.distributed
                  resources:
                    limits:
                      google.com/tpu: $chips
END
    [ -n "$claim" ] && cat <<END
                  volumeMounts:
                    - name: data
                      mountPath: /data
              volumes:
                - name: data
                  persistentVolumeClaim:
                    claimName: $claim
END
    return 0
}

if [ "$dry_run" = true ]; then
    yaml "$@"
else
    yaml "$@" | kubectl apply -f -
fi
