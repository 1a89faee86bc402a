#!/usr/bin/env bash
# What launch/sky.yaml runs on every node: the experiment of $RUN, read as a shell reads it. Several
# nodes find each other by SkyPilot's variables, which jax.distributed knows only by flags.
#
#     RUN="pretrain --model=base --workdir=/runs/base" launch/sky_node.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"
[ $# -eq 0 ] || fail "got '$1'; expected the experiment in the variable RUN: see $0 --help"

eval "set -- ${RUN:-}" 2>/dev/null || fail "got RUN=${RUN:-}; expected words as a shell reads them"
[ $# -gt 0 ] || fail "got no RUN; expected an experiment, as in --env RUN='pretrain --workdir=/runs/base'"
experiment "$@"
outlives_machine "" "$@"
name=$1
shift
nodes=${SKYPILOT_NUM_NODES:-1}
if [ "$nodes" -gt 1 ]; then
    case $(made_in "$@") in
        /runs/*) fail "got $(made_in "$@") on $nodes nodes, which do not see each other's /runs; expected a disk that all see at once, or --num-nodes 1" ;;
    esac
    set -- "$@" "--coordinator=$(echo "$SKYPILOT_NODE_IPS" | head -n 1):29500" \
        "--processes=$nodes" "--process_id=$SKYPILOT_NODE_RANK"
fi
cd "$root"
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
exec "$python" -m "experiments.$name" "$@"
