#!/usr/bin/env bash
# Make a Python environment for bert_jax in .venv of this checkout; quick where it is there already.
#
#     launch/setup.sh [EXTRA…]          launch/setup.sh tpu      launch/setup.sh cuda
#
# Uses the Python of .python-version. Where the machine's is older (a TPU VM's may be 3.10), uv
# brings one. Versions are those of constraints.txt. The same on a laptop, a TPU VM or a container.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"
help_asked "$@"
cd "$root"

extras=$(IFS=,; echo "$*")
case ",$extras," in
    *,-* | *[!a-z,-]*) fail "got extras '$*'; expected names such as tpu, cuda or test" ;;
esac
wanted="$(cat .python-version) $extras $(cksum <constraints.txt) $(cksum <pyproject.toml)"
if [ "$(cat .venv/bert_jax.installed 2>/dev/null || true)" = "$wanted" ]; then
    echo "setup.sh: .venv is ready"
    exit 0
fi

uv=(uv)
if ! command -v uv >/dev/null; then
    uv=(.uv/bin/python -m uv)
    if ! [ -x .uv/bin/python ]; then
        python3 -m venv .uv || { # Debian's Python comes without ensurepip
            rm -rf .uv
            python3 -m pip install --quiet --target .uv/virtualenv virtualenv==21.15.11
            PYTHONPATH=.uv/virtualenv python3 -m virtualenv --quiet .uv
        }
        .uv/bin/python -m pip install --quiet uv==0.13.9
    fi
fi

"${uv[@]}" venv --quiet --clear --python "$(cat .python-version)" .venv
"${uv[@]}" pip install --quiet --python .venv/bin/python -c constraints.txt -e ".[all${extras:+,$extras}]"
echo "$wanted" >.venv/bert_jax.installed
echo "setup.sh: .venv is ready, $(.venv/bin/python --version)"
