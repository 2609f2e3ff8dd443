#!/usr/bin/env bash
# What run.sh and test.sh need on a plain Debian or Ubuntu with Rust: finds it, installs what is missing.
# Sourced, never run. With everything in place it asks nobody, needs no root and no network.
#
#   need_rust              cargo, on PATH
#   need_build_tools       a C compiler, pkg-config and OpenSSL's headers
#   need_database_server   any mariadbd or mysqld
#   need_debian_keys       what scripts/servers.sh checks its downloads with
#   install_missing        installs with one apt-get call what these found wanting, cargo excepted
#   built_program PROFILE  where cargo puts the program: PROFILE is debug or release

# What is built here runs here, and is found where it is for this machine.
unset CARGO_BUILD_TARGET

missing_packages=()
# As `rust-version` in Cargo.toml says.
oldest_rust=1.88

say() { printf '%s\n' "strings-queue: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# miss PACKAGE PURPOSE
miss() {
    say "$1 is missing, for $2"
    missing_packages+=("$1")
}

# A shell that is not a login shell may not know the folder that rustup fills.
need_rust() {
    local folder=${CARGO_HOME:-${HOME:-}/.cargo}/bin
    if ! command -v cargo >/dev/null && [ -x "$folder/cargo" ]; then export PATH="$folder:$PATH"; fi
    command -v cargo >/dev/null ||
        die "needs Rust $oldest_rust or newer, and cargo is not there. Install it as https://rustup.rs says, then run this again."
    find_toolchain
    local version
    version=$(cargo --version | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    # One that does not tell its version is taken at its word.
    [ -z "$version" ] || [ "$(printf '%s\n' "$oldest_rust" "$version" | sort -V | head -n 1)" = "$oldest_rust" ] ||
        die "needs Rust $oldest_rust or newer, and this is $version. Get a newer one as https://rustup.rs says, then run this again."
}

# rustup's cargo looks for its toolchains in the home folder; that of another user has them beside it.
find_toolchain() {
    local folder
    cargo_runs && return
    folder=$(dirname "$(dirname "$(dirname "$(command -v cargo)")")")/.rustup
    if [ -z "${RUSTUP_HOME:-}" ] && [ -d "$folder" ]; then export RUSTUP_HOME=$folder; fi
    cargo_runs || die "cargo is there and does not run: $(cargo --version 2>&1 | head -n 1)"
}

cargo_runs() { cargo --version >/dev/null 2>&1; }

need_build_tools() {
    if ! cc -E -x c - <<<'#include <stdlib.h>' >/dev/null 2>&1; then
        miss gcc "the C parts of crates"
        miss libc6-dev "the C compiler (the C library's headers)"
    fi
    command -v pkg-config >/dev/null || miss pkg-config "finding OpenSSL"
    if [ -z "${OPENSSL_DIR:-}" ] && ! pkg-config --exists openssl 2>/dev/null; then
        miss libssl-dev "the mysql_cdc crate (OpenSSL's headers)"
    fi
}

# An ordinary user's PATH often lacks the sbin folders, where servers live.
has_database_server() {
    local PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
    command -v mariadbd >/dev/null || command -v mysqld >/dev/null
}

# The core packages have the programs and no service: nothing starts, nothing listens.
need_database_server() {
    has_database_server && return
    miss mariadb-server-core "the private database server (a program only, no service is started)"
    miss mariadb-client-core "looking into that database (its client)"
}

need_debian_keys() {
    compgen -G '/usr/share/keyrings/debian-archive-keyring.*' >/dev/null ||
        miss debian-archive-keyring "fetching database servers from Debian"
}

# Older releases have the version in the name, as in mariadb-server-core-10.6.
name_in_this_release() {
    local name
    name=$(apt-cache pkgnames "$1" | grep -xE "$1(-[0-9.]+)?" | sort -V | head -n 1) || true
    printf '%s\n' "${name:-$1}"
}

install_missing() {
    [ ${#missing_packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "there is no apt-get here: install by hand what Debian calls ${missing_packages[*]}"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "neither root nor sudo: have an administrator run 'apt-get install ${missing_packages[*]}', then run this again"
    fi
    say "installing with apt-get: ${missing_packages[*]}"
    local log package packages=()
    log=$(mktemp)
    # An index that cannot be renewed does not matter if the packages can still be had.
    as_root apt-get -q update >"$log" 2>&1 || true
    for package in "${missing_packages[@]}"; do packages+=("$(name_in_this_release "$package")"); done
    # Upgrades that the machine makes by itself hold dpkg's lock for a while. What is here already, such as another
    # server's client, is not taken away.
    if ! as_root apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install "${packages[@]}" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get failed; its last lines are above, all of them in $log"
    fi
    rm -f "$log"
    missing_packages=()
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# Asks cargo, which knows CARGO_TARGET_DIR and every configuration file. For the project of this folder.
built_program() {
    local target
    target=$(cargo metadata --offline --no-deps --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p') || return
    printf '%s\n' "$target/$1/strings-queue"
}
