# shellcheck shell=bash disable=SC2154,SC2034 # variables of the script that sources this
# What compute_engine.sh and tpu_vm.sh share: a run on machines that may be taken away. Sourced. Each
# of them defines, for its way of asking for machines:
#
#     machines          prints RUNNING where all are there, WAITING, GONE where some were taken away,
#                       UNKNOWN where nobody answers; nothing where none were asked for
#     request, release  asks for them, gives them back
#     workers           prints their names, a line each: machines, or slices of them
#     copy_to NAME FILE, on_worker NAME COMMAND
#                       copies it to its home, runs it there
#     on_one COMMAND    runs it on worker $worker
#     own_flag WORD     takes a flag that only that script has; fails of any other

name="" zone="" project="" worker=0 poll=30 spot=false dry_run=false

# read_flags WORDS…: take the flags before --, and check what both scripts have; $flags says how many
# words that were, with --.
read_flags() {
    case $action in
        create | run | resume | logs | status | stop | delete) ;;
        *) fail "got '$action'; expected create, run, resume, logs, status, stop or delete" ;;
    esac
    shift
    flags=1
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        case $1 in
            --name=*) name=${1#*=} ;;
            --zone=*) zone=${1#*=} ;;
            --project=*) project=${1#*=} ;;
            --worker=*) worker=${1#*=}; [ "$worker" = 0 ] || number worker "$worker" ;;
            --poll=*) poll=${1#*=}; number poll "$poll" ;;
            --spot) spot=true ;;
            --dry_run) dry_run=true ;;
            *) own_flag "$1" ;;
        esac
        shift
        flags=$((flags + 1))
    done
    [ $# -eq 0 ] || { shift; flags=$((flags + 1)); }
    cloud_name "$name"
    [ -n "$zone" ] || fail "got no --zone; expected one, as in --zone=us-east5-a"
    case $action in
        run | resume) experiment "$@"; outlives_machine "" "$@" ;;
        *) [ $# -eq 0 ] || fail "got '$1' after --; expected an experiment with run and resume only" ;;
    esac
    where=("--zone=$zone" ${project:+"--project=$project"})
    told=("--name=$name" "${where[@]}")
}

scratch=$(mktemp -d) # a name that nobody can have made before
trap 'rm -rf "$scratch"' EXIT

# missing FILE: whether that is what gcloud says of a thing that is not there.
missing() {
    grep -qi "not found\|not_found\|does not exist" "$1"
}

# everywhere FUNCTION WORDS…: call it for every worker at once; print what each printed.
everywhere() {
    local each status=0 pids=()
    for each in $(workers); do
        "$1" "$each" "${@:2}" >"$scratch/$each.out" &
        pids+=($!)
    done
    for each in "${pids[@]}"; do wait "$each" || status=1; done
    for each in $(workers); do cat "$scratch/$each.out"; done
    return "$status"
}

copy() { everywhere copy_to "$1"; }
on_all() { everywhere on_worker "$1"; }

create() {
    if [ "$dry_run" = true ]; then
        request
        return
    fi
    while :; do
        case $(machines) in
            RUNNING) return ;;
            "") request || fail "gcloud refused the request: see above" ;;
            GONE) release ;; # taken away, or never given: ask anew
        esac
        sleep "$poll"
    done
}

delete() {
    if [ "$dry_run" = true ] || [ -n "$(machines)" ]; then
        release
    fi
}

# Install the checkout on every worker, as git knows it, with changes that are not committed yet, and
# start the experiment there. It goes on when ssh ends.
start() {
    local archive=$scratch/bert_jax.tar.gz command
    run sh -c "cd '$root' && git ls-files --cached --others --exclude-standard -z | tar --null -czf '$archive' -T -" || return
    copy "$archive" || return
    command="mkdir -p bert_jax && tar -xzf bert_jax.tar.gz -C bert_jax && cd bert_jax"
    command+=" && launch/setup.sh tpu && launch/worker.sh start $(quoted "$@" --distributed)"
    on_all "$command" || return
    [ "$dry_run" = true ] || echo "$(basename "$0"): it runs, with or without you; see: $(quoted "$0" logs "${told[@]}")"
}

# Wait until the run has ended or machines are taken away; prints finished, mistake, failed or gone.
outcome() {
    local said silent=0
    while :; do
        sleep "$poll"
        case $(machines) in
            RUNNING) ;;
            UNKNOWN) continue ;;
            *) echo gone && return ;;
        esac
        if ! said=$(on_all "bert_jax/launch/worker.sh status"); then
            silent=$((silent + 1)) # a worker that does not answer so long is lost
            [ "$silent" -lt 10 ] || { echo gone && return; }
            continue
        fi
        silent=0
        case $said in
            *mistake*) echo mistake && return ;;
            *failed* | *none*) echo failed && return ;;
            *running*) ;;
            *finished*) echo finished && return ;;
        esac
    done
}

# Create, start and wait, again whenever the machines were taken away, until the run has ended.
resume() {
    local ended made
    made=$(made_in "$@")
    while :; do
        create
        ended=gone
        if start "$@"; then
            [ "$dry_run" = false ] || return 0
            ended=$(outcome)
        elif [ "$(machines)" = RUNNING ]; then
            fail "the workers could not be set up: see above"
        fi
        case $ended in
            gone)
                echo "$(basename "$0"): $name was taken away; asking anew" >&2
                [ -z "$(machines)" ] || release
                ;;
            finished)
                case $1,$made in
                    pretrain,/* | finetune,/*)
                        on_one "test -f $(quoted "$made/result.json")" ||
                            fail "the run ended with 0, but there is no $made/result.json"
                        ;;
                esac
                echo "$(basename "$0"): finished; give the machines back: $(quoted "$0" delete "${told[@]}")"
                return
                ;;
            mistake) fail "the experiment refused its flags: see $(quoted "$0" logs "${told[@]}")" ;;
            *)
                echo "$(basename "$0"): the experiment failed, and the machines are there: see $(quoted "$0" logs "${told[@]}")" >&2
                exit 1
                ;;
        esac
    done
}

# act ACTION WORDS…: what both scripts do.
act() {
    case $1 in
        create | delete | resume) "$@" ;;
        run) start "${@:2}" ;;
        stop) on_all "bert_jax/launch/worker.sh stop" ;;
        status) on_all "bert_jax/launch/worker.sh status" ;;
        logs) on_one "bert_jax/launch/worker.sh logs" ;;
    esac
}
