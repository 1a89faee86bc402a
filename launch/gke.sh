#!/usr/bin/env bash
# Run an experiment on GKE as a JobSet: one pod a host.
#
#     launch/gke.sh --name=base --image=…/bert_jax:1 --accelerator=tpu-v6e-slice --topology=4x4 \
#         --hosts=4 --chips=4 --claim=runs -- pretrain --model=base --workdir=/data/base
#
#     --name         of the JobSet           --accelerator  the node label of the TPU's kind
#     --image        of launch/Dockerfile    --topology     the node label of its shape
#     --claim        a volume claim, mounted at /data in all pods at once (ReadWriteMany)
#     --hosts=1      pods                    --chips=4      TPU chips in each
#     --slices=1     of so many hosts each; a slice has a node pool to itself
#     --restarts=10  after faults, before it gives up; preemptions do not count
#     --dry_run      print the YAML
#
# A pod that is preempted or drained has two minutes to save (status 143) and is replaced; so are the
# others of its slice, which save with it. A fault (a lost host, a bug) starts all anew together. A
# mistake (status 2) ends the JobSet at once. It is Completed when all pods ended with 0.
#
# The workdir must outlive the pods: below /data, or a bucket. Needs the JobSet controller, v0.8 or
# later: https://jobset.sigs.k8s.io. The same command again changes nothing. Then:
#
#     kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=base,batch.kubernetes.io/job-completion-index=0
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"

name="" image="" accelerator="" topology="" hosts=1 chips=4 slices=1 restarts=10 claim=""
dry_run=false
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        --name=*) name=${1#*=} ;;
        --image=*) image=${1#*=} ;;
        --accelerator=*) accelerator=${1#*=} ;;
        --topology=*) topology=${1#*=} ;;
        --hosts=*) hosts=${1#*=}; number hosts "$hosts" ;;
        --chips=*) chips=${1#*=}; number chips "$chips" ;;
        --slices=*) slices=${1#*=}; number slices "$slices" ;;
        --restarts=*) restarts=${1#*=}; number restarts "$restarts" ;;
        --claim=*) claim=${1#*=} ;;
        --dry_run) dry_run=true ;;
        *) fail "got '$1'; expected --name, --image, --accelerator, --topology, --hosts, --chips, --slices, --restarts, --claim or --dry_run, then -- and the experiment" ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
for needed in name image accelerator topology; do
    [ -n "${!needed}" ] || fail "got no --$needed; expected one: see $0 --help"
done
for label in "$name" "$accelerator" "$topology" ${claim:+"$claim"}; do
    case $label in
        *[!a-z0-9.-]*) fail "got '$label'; expected small letters, digits, dots and hyphens" ;;
    esac
done
experiment "$@"
outlives_machine /data "$@"
case $(made_in "$@") in
    /data/*) [ -n "$claim" ] || fail "got no --claim; expected one, which is mounted at /data" ;;
esac

# json WORD: as a JSON string, which YAML reads as it is.
json() {
    local word=${1//\\/\\\\}
    printf '"%s"' "${word//\"/\\\"}"
}

alone="" # in a node pool, where there are several machines
[ "$hosts$slices" = 11 ] || alone="
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool"

yaml() {
    cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name$alone
spec:
  failurePolicy:
    maxRestarts: $restarts
    restartStrategy: BlockingRecreate # no pod of the last try is still writing
    rules:
      - name: aMistakeWouldBeMadeAgain
        action: FailJobSet
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: hosts
      replicas: $slices
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          completionMode: Indexed
          backoffLimit: 0 # a fault of one ends all: the JobSet starts them together again
          podReplacementPolicy: Failed # when it has ended, and not while it saves
          podFailurePolicy:
            rules:
              - action: FailJob # a user's mistake
                onExitCodes:
                  containerName: experiment
                  operator: In
                  values: [2]
              - action: Ignore # preempted, drained, its node is gone: replaced, not counted
                onPodConditions:
                  - type: DisruptionTarget
                    status: "True"
              - action: Ignore # told to stop with another pod, and saved
                onExitCodes:
                  containerName: experiment
                  operator: In
                  values: [143]
          template:
            spec:
              restartPolicy: Never
              shareProcessNamespace: true # else Python is process 1, which SIGTERM does not end
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
