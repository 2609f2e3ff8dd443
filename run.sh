#!/usr/bin/env bash
# strings-queue in one command: installs what is missing, builds, runs. `./run.sh --help` says more.

set -euo pipefail

usage() {
    cat <<'END'
strings-queue: an HTTP job queue whose API is one SQL table

  ./run.sh               the quick start: a private database server, the schema, a demo handler and the
                         service, with one demo job shown done; runs until Ctrl-C
  ./run.sh <db_ini_file> the service on your database, until Ctrl-C or SIGTERM
  ./run.sh -h | --help   this text

What is missing (a C compiler, pkg-config, OpenSSL's headers; for the quick start a database server) is
installed with apt-get, after saying so. Rust's cargo must be there. db.example.ini has every setting.
The program has more commands (once, check, migrate): target/release/strings-queue --help
END
}

refuse() {
    printf '%s\n' "run.sh: $1" >&2
    usage >&2
    exit 2
}

# Builds into the folder that cargo says, and leaves the caller's folder as it is: an ini file is named from there.
build() {
    local here
    here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
    # A relative target folder is meant from where the caller stands.
    if [ -n "${CARGO_TARGET_DIR:-}" ]; then CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR"); fi
    # shellcheck source=scripts/prerequisites.sh
    . "$here/scripts/prerequisites.sh"
    need_rust
    need_build_tools
    if [ "${1:-}" = with_database_server ]; then need_database_server; fi
    install_missing
    program=$(cd "$here" && built_program release)
    (cd "$here" && cargo build --release --locked) || die "the build failed"
}

main() {
    [ $# -le 1 ] || refuse "one db.ini, or nothing"
    case "${1-quick start}" in
    -h | --help) usage ;;
    'quick start')
        build with_database_server
        exec "$program" sandbox
        ;;
    -*) refuse "unknown option $1" ;;
    *)
        if [ ! -r "$1" ] || [ -d "$1" ]; then refuse "cannot read the settings file '$1'"; fi
        build
        exec "$program" run "$1"
        ;;
    esac
}

main "$@"
