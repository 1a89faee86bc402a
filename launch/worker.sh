#!/usr/bin/env bash
# Run an experiment on this machine as a systemd unit, which outlives the ssh session that began it.
# launch/compute_engine.sh and launch/tpu_vm.sh call it on every worker.
#
#     launch/worker.sh start pretrain --workdir=/mnt/shared/base --distributed
#     launch/worker.sh status        # none, running, finished, mistake or failed
#     launch/worker.sh logs          # follows what it prints
#     launch/worker.sh stop          # it saves first
#     launch/worker.sh unit …        # prints the unit
#
# systemd starts it again after a fault, or where it was told to stop by another than systemd; not
# after the end (0) or a mistake (2), nor more than ten times in an hour.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"
action=${1:-}
[ $# -eq 0 ] || shift
file=/etc/systemd/system/bert_jax.service

unit() {
    local word line=""
    for word in "$root/.venv/bin/python" -m "experiments.$1" "${@:2}"; do
        word=${word//\\/\\\\} word=${word//\"/\\\"} word=${word//%/%%} word=${word//\$/\$\$}
        line+="${line:+ }\"$word\""
    done
    cat <<END
[Unit]
Description=bert_jax: experiments.$1
After=network-online.target remote-fs.target
StartLimitIntervalSec=1h
StartLimitBurst=10

[Service]
User=$(id -un)
WorkingDirectory=$root
ExecStart=$line
Restart=always
RestartPreventExitStatus=0 2
RestartSec=10
KillMode=mixed
TimeoutStopSec=120

[Install]
WantedBy=multi-user.target
END
}

# state: a word for the unit, as systemd knows it.
state() {
    local name value load="" active="" code="" status=""
    while IFS='=' read -r name value; do
        case $name in
            LoadState) load=$value ;;
            ActiveState) active=$value ;;
            ExecMainCode) code=$value ;;
            ExecMainStatus) status=$value ;;
        esac
    done < <(systemctl show bert_jax --property=LoadState,ActiveState,ExecMainCode,ExecMainStatus)
    case $load,$active,$code,$status in
        loaded,active,* | loaded,*ing,*) echo running ;;
        loaded,inactive,0,*) echo none ;; # it has not been started
        loaded,inactive,*,0) echo finished ;;
        loaded,*,2) echo mistake ;;
        loaded,*) echo failed ;;
        *) echo none ;;
    esac
}

case $action in
    start | unit) experiment "$@" ;;
    status | logs | stop) [ $# -eq 0 ] || fail "got '$1' after $action; expected nothing more" ;;
    *) fail "got '$action'; expected start, status, logs, stop or unit" ;;
esac
case $action in
    unit) unit "$@" ;;
    start)
        [ "$(state)" != running ] || exit 0
        unit "$@" | sudo tee "$file" >/dev/null
        sudo systemctl daemon-reload
        sudo systemctl reset-failed bert_jax 2>/dev/null || true
        sudo systemctl enable --quiet bert_jax
        sudo systemctl restart bert_jax
        ;;
    stop) sudo systemctl stop bert_jax ;;
    logs) exec sudo journalctl --unit=bert_jax --output=cat --lines=100 --follow ;;
    status) state ;;
esac
