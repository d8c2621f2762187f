#!/usr/bin/env bash
# Installs what the build needs on Debian 12 and is not there yet, and checks the Rust toolchain.
# Run it, or source it: sourcing also puts ~/.cargo/bin on the PATH of the script that does.
set -euo pipefail

setup_packages() {
    local needed=(libgdal-dev gdal-bin libproj-dev proj-bin proj-data libclang-dev libsqlite3-dev pkg-config g++
        python3 python3-venv git)
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is no Debian system; make sure that the equivalents of these are installed: ${needed[*]}" >&2
        return 0
    fi
    local installed missing=() package
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${needed[@]}" 2>/dev/null || true)
    for package in "${needed[@]}"; do
        grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] && return 0

    local root=()
    if [[ $EUID -ne 0 ]]; then
        if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
            root=(sudo)
        else
            echo "setup: missing Debian packages, and neither root nor sudo to install them: ${missing[*]}" >&2
            echo "setup: ask for: apt-get install ${missing[*]}" >&2
            return 1
        fi
    fi
    echo "setup: installing ${missing[*]}" >&2
    # A stale package list is the usual reason for a failed download; a failed update may still leave a usable one.
    "${root[@]}" apt-get update -qq >&2 || echo "setup: apt-get update failed, going on with the list that is there" >&2
    if ! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
        echo "setup: apt-get could not install: ${missing[*]}" >&2
        return 1
    fi
}

setup_rust() {
    local least=1.94 found
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if ! command -v cargo >/dev/null; then
        echo "setup: found no cargo, expected Rust $least or newer; install it with rustup" >&2
        return 1
    fi
    found=$(cargo --version | cut -d' ' -f2)
    if [[ $(printf '%s\n%s\n' "$least" "$found" | sort -V | head -n1) != "$least" ]]; then
        echo "setup: found cargo $found, expected $least or newer; run: rustup update stable" >&2
        return 1
    fi
}

setup_packages || exit 1
setup_rust || exit 1
