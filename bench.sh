#!/usr/bin/env bash
# The benchmark, in one command: the release build on private servers of its own, a handler that answers at once.
# It prints a table of medians and writes all figures to target/bench-<server>.json.

set -euo pipefail

usage() {
    cat <<'END'
./bench.sh [--server NAME]... [-- options]     measures on the servers of this machine, or on those named

Options after -- go to the benchmark, such as: backlog latency --runs 5 --jobs 20000; --inside shows where the time of a
backlog goes, --rows how many finished rows stand beside it in the scenario of scale; --help lists all of them.
Figures depend on the machine and on what else it does: compare figures of one run.
END
}

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
if [ -n "${CARGO_TARGET_DIR:-}" ]; then CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR"); fi
cd "$here"
# The figures go there wherever cargo builds.
mkdir -p target
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

names=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit ;;
    --server)
        [ $# -ge 2 ] || { usage >&2 && exit 2; }
        names+=("$2") && shift
        ;;
    --) shift && break ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

need_rust
need_build_tools
need_database_server
install_missing
cargo build --release --locked --bench queue --bin strings-queue
if [ ${#names[@]} -eq 0 ]; then mapfile -t names < <(scripts/servers.sh available); fi
for name in "${names[@]}"; do
    program=$(scripts/servers.sh fetch "$name")
    cargo bench --locked --quiet --bench queue -- --server-program "$program" --json "target/bench-$name.json" "$@"
done
