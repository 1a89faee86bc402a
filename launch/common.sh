# shellcheck shell=bash disable=SC2154 # $root and $dry_run are the script's that sources this
# What the launch scripts share: help, asking for values, dry runs, quoting. Sourced, not run.
#
# The exit status of an experiment says whether to start it again (docs/launching.md): 0 finished,
# 143 told to stop and saved, 2 a mistake that would be made again, any other a fault.

# fail WORDS…: a user's mistake is one line and status 2.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# help_asked WORDS…: where --help is among them, before --, print the top of the script and end.
help_asked() {
    local word
    for word in "$@"; do
        case $word in
            --) return ;;
            -h | --help)
                sed -n '2,/^[^#]/{s/^#SBATCH.*//;s/^# \{0,1\}//p;}' "$0" | sed '$!b;/^$/d'
                exit 0
                ;;
        esac
    done
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

# cloud_name VALUE: what clouds take for a name.
cloud_name() {
    case $1 in
        '') fail "got no --name; expected one, as in --name=base" ;;
        *[!a-z0-9-]* | -* | [0-9]*) fail "got --name=$1; expected small letters, digits and hyphens" ;;
    esac
}

# experiment WORDS…: check that the first is an experiment of this checkout.
experiment() {
    [ $# -gt 0 ] || fail "got no experiment; expected one after --, as in: -- pretrain --model=base"
    local file="$root/experiments/${1//.//}.py"
    [ -f "$file" ] || fail "got experiment '$1'; expected the name of a file in experiments/, as in pretrain"
}

# made_in WORDS…: the folder that an experiment's flags say for what it makes; empty: they say none.
made_in() {
    local word
    for word in "$@"; do
        case $word in
            --workdir=* | --data_dir=* | --output=*) printf '%s\n' "${word#*=}" && return ;;
        esac
    done
}

# finished NAME FOLDER: whether an experiment that ended with 0 has left what proves it.
finished() {
    case $1,$2 in
        pretrain,*://* | finetune,*://*) ;; # this shell cannot look into a bucket
        pretrain,* | finetune,*) [ -f "$2/result.json" ] ;;
    esac
}

# outlives_machine WHERE WORDS…: check that what an experiment makes lies in a bucket or under WHERE,
# a disk that is still there when the machine is taken away. With an empty WHERE: on any disk but the
# machine's own.
outlives_machine() {
    local where=$1 made
    shift
    made=$(made_in "$@")
    local wanted="a bucket, or a folder of a disk that outlives the machine, as in --workdir=${where:-/mnt/shared}/base"
    case $made in
        '') fail "got no --workdir; expected $wanted" ;;
        gs://* | s3://*) return ;;
        /tmp* | /home/* | /root/* | /var/* | /dev/*) ;;
        /*) case $made in "$where"/*) return ;; esac ;;
    esac
    fail "got $made, which goes with the machine; expected $wanted"
}
