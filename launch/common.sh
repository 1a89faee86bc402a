# shellcheck shell=bash disable=SC2154 # $root and $dry_run are the script's that sources this
# What the launch scripts share: asking for values, dry runs, quoting. Sourced, not run.

# fail WORDS…: a user's mistake is one line and status 2.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# run COMMAND…: run it; under --dry_run, print it as it could be typed.
run() {
    if [ "$dry_run" = true ]; then
        quoted "$@"
    else
        "$@"
    fi
}

# quoted WORDS…: one line that a shell reads back as the same words.
quoted() {
    local word line=""
    for word in "$@"; do
        case $word in
            '' | *[!A-Za-z0-9_./:=@,%+-]*) word="'${word//\'/\'\\\'\'}'" ;;
        esac
        line+="${line:+ }$word"
    done
    printf '%s\n' "$line"
}

# number NAME VALUE: a whole number of at least 1.
number() {
    case $2 in
        '' | *[!0-9]* | 0*) fail "got --$1=$2; expected a whole number of at least 1" ;;
    esac
}

# experiment WORDS…: check that the first is an experiment of this checkout.
experiment() {
    [ $# -gt 0 ] || fail "got no experiment; expected one after --, as in: -- pretrain --model=base"
    local file="$root/experiments/${1//.//}.py"
    [ -f "$file" ] || fail "got experiment '$1'; expected the name of a file in experiments/, as in pretrain"
}
