# shellcheck shell=bash
# Sourced by the other scripts: the virtual environment of the checkout, made on the first call and updated when the packaging or the
# lock file has changed. Sets $root and $venv, and changes the directory to $root. $PYTHON chooses the interpreter.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv
cd "$root" || exit 1

complain() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || complain "PYTHON=$PYTHON is not Python 3.11 or later"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    complain "Perimeter needs Python 3.11 or later; found: $(python3 --version 2>&1 || true) (PYTHON=/path/to/python3 chooses another)"
}

# make_environment LOCK: the project, installed editable with the releases in requirements/LOCK.txt ("run" or "ci"), and nothing else
make_environment() {
    local lock=requirements/$1.txt python stamp state
    python=$(find_python) || exit 1
    if ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            complain "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
        echo "making $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv" || complain "could not make $venv"
    fi
    stamp=$venv/.installed-$1
    state=$(cat pyproject.toml setup.py "$lock" | cksum; "$venv/bin/python" --version; echo "$root")
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$state" ]; then
        echo "installing Perimeter and what $lock names"
        install_locked "$lock" && install_without_dependencies --editable . ||
            complain "pip could not install the dependencies; it needs the package index or a mirror (PIP_INDEX_URL)"
        printf '%s\n' "$state" >"$stamp"
    fi
}

install_locked() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$1" </dev/null
}

# a build without isolation: what builds is in the lock file too
install_without_dependencies() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$@" </dev/null
}
