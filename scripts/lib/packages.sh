# shellcheck shell=bash
# Sourced by the scripts that install what others have packaged, from Debian's or Ubuntu's packages.

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PACKAGE...: those that are not here yet. Needs root, or a sudo that asks for no password.
install_packages() {
    local self package missing=() as_root=()
    self=$(basename "$0")
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "$self: this machine has no apt-get; install these yourself: $*" >&2
        return 1
    fi
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || ! sudo --non-interactive true 2>/dev/null; then
            echo "$self: not root; run: sudo apt-get install ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo --non-interactive)
    fi
    echo "$self: installing ${missing[*]}"
    # the lists on the machine may be there and good enough; a bare image has none, an old one points to versions that are gone
    apt install --yes --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        apt update
        apt install --yes --no-install-recommends "${missing[@]}"
    }
}

# packages must not start their own services: port 80 must stay free
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get --quiet=2 --option Acquire::Retries=3 \
        --option Dpkg::Use-Pty=0 --option DPkg::Lock::Timeout=300 "$@" </dev/null
}
