#!/usr/bin/env bash
# Every check and every test of strings-queue, in one command. `./test.sh --help` says more.

set -euo pipefail

usage() {
    cat <<'END'
./test.sh [options] [-- filters]      passes every test, or says which one failed

  --fast          leave out the checks of format, lints and documentation
  --all           run the slow scenarios too, and show what they measured
  --server NAME   only on this database server; may be repeated (scripts/servers.sh list)
  --require-all   on every known server: fetch what is missing, and a server that cannot be had is a failure
                  (the same: STRINGS_QUEUE_REQUIRE_ALL=1)
  -- filters      run the tests whose names contain one of these

What is missing is installed with apt-get, after saying so. Without --require-all the tests run on the
servers of this machine: the installed one, and those fetched earlier. They are private: own folders, free
ports of the loopback address, gone afterwards. The last line is `N passed, N failed`: the sum over all
test programs; a step that fails without naming a failed test counts as one.
END
}

refuse() {
    printf '%s\n' "test.sh: $1" >&2
    usage >&2
    exit 2
}

fast='' require_all=${STRINGS_QUEUE_REQUIRE_ALL:-} filters=() wanted=() output=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit ;;
    --fast) fast=1 ;;
    --all) export STRINGS_QUEUE_SLOW=1 && output=(--show-output) ;;
    --require-all) require_all=1 ;;
    --server)
        [ $# -ge 2 ] || refuse "--server needs a name"
        wanted+=("$2") && shift
        ;;
    --) shift && filters=("$@") && break ;;
    *) refuse "unknown argument $1" ;;
    esac
    shift
done
if [ "$require_all" = 0 ]; then require_all=; fi

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
if [ -n "${CARGO_TARGET_DIR:-}" ]; then CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR"); fi
cd "$here"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

# --- Steps and their sum --------------------------------------------------------------------------------

passed=0 failed=0 summary=() reasons=()
step_pid='' step_status=0 benchmark_pid='' sandbox_pid='' work=

remember() { summary+=("$(printf '  %-34s %s' "$1" "$2")"); }

# Runs a command as a step: its output is shown as it comes, and the results of its tests are added up.
# It runs in a process group of its own, so that Ctrl-C is ours to handle and ends all of it.
step() {
    local name=$1 counts
    shift
    printf '\n==== %s\n' "$name"
    start_group run_and_keep "$@"
    step_pid=$!
    step_status=0
    wait "$step_pid" || step_status=$?
    step_pid=
    counts=$(sum_of_results "$work/output")
    add_up "$name" "${counts% *}" "${counts#* }"
}

start_group() {
    set -m
    "$@" </dev/null &
    set +m
}

end_group() {
    [ -n "$1" ] || return 0
    kill -TERM -- "-$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    # A test that handles SIGTERM is still there.
    kill -KILL -- "-$1" 2>/dev/null || true
}

run_and_keep() { "$@" 2>&1 | tee "$work/output"; }

# Prints the sums of the `test result:` lines: passed, failed.
sum_of_results() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" |
        awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } }
            END { print p + 0, f + 0 }'
}

add_up() {
    local name=$1 good=$2 bad=$3
    if [ "$step_status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad))
    if [ "$bad" -gt 0 ]; then
        remember "$name" "FAILED ($good passed, $bad failed)"
        keep_reasons "$name"
    elif [ "$good" -gt 0 ]; then
        remember "$name" "$good passed"
    else
        remember "$name" "ok"
    fi
}

# What the failed tests said, a few lines of each: the output of all the others is between them and the end.
keep_reasons() {
    reasons+=("$(printf '\n==== Failed: %s\n' "$1" && cut -c 1-400 "$work/output" |
        awk '/panicked at/ { left = 6 } left-- > 0 && shown++ < 60')")
}

left_out() {
    say "$1 left out: $2"
    remember "$1" "left out: $2"
}

fail_step() {
    say "$1: $2"
    remember "$1" "FAILED: $2"
    failed=$((failed + 1))
}

# --- The checks -----------------------------------------------------------------------------------------

# Components of the toolchain that a user may not have; whoever runs continuous integration must.
has_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    if [ "${CI:-}" = true ]; then
        fail_step "$1" "missing (rustup component add $2)"
    else
        left_out "$1" "missing (rustup component add $2)"
    fi
    return 1
}

check_sources() {
    if has_component fmt rustfmt; then step "format" cargo fmt --check; fi
    if has_component clippy clippy; then
        step "lints" cargo clippy --all-targets --locked -- -D warnings
        step "lints with failpoints" cargo clippy --features failpoints --test failpoints --locked -- -D warnings
    fi
    step "documentation" env RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --no-deps --locked
}

test_without_database() {
    step "unit tests" cargo test --locked --lib --bins -- "${filters[@]}"
    step "documentation tests" cargo test --locked --doc -- "${filters[@]}"
}

# --- The servers ----------------------------------------------------------------------------------------

# One name per line: those asked for, else all known, else those that are there.
servers_to_test() {
    if [ ${#wanted[@]} -gt 0 ]; then
        printf '%s\n' "${wanted[@]}"
    elif [ -n "$require_all" ]; then
        scripts/servers.sh list
    else
        scripts/servers.sh available
    fi
}

name_those_left_out() {
    local name tested=" $* " why
    for name in $(scripts/servers.sh list); do
        why="not on this machine: scripts/servers.sh fetch $name"
        if [ ${#wanted[@]} -gt 0 ]; then why="not asked for"; fi
        case $tested in
        *" $name "*) ;;
        *) left_out "tests on $name" "$why" ;;
        esac
    done
}

test_on_all_servers() {
    local names name
    mapfile -t names < <(servers_to_test)
    [ ${#names[@]} -gt 0 ] || fail_step "tests on a database" "no server on this machine (scripts/servers.sh list)"
    for name in "${names[@]}"; do test_on_server "$name"; done
    name_those_left_out "${names[@]}"
}

test_on_server() {
    local name=$1 how=path server
    if [ -n "$require_all" ]; then how=fetch; fi
    if ! server=$(scripts/servers.sh "$how" "$name"); then
        fail_step "tests on $name" "the server is not to be had"
    elif ! start_server "$name" "$server"; then
        cat "$work/sandbox.log" >&2
        fail_step "tests on $name" "the server did not start"
    else
        # Another build of our crate alone, and before the other, so that a program for use is left. The tests of
        # `support` are among the others.
        RUST_TEST_THREADS=$(tests_at_once) step "failpoints on $name" cargo test --locked --features failpoints --test failpoints -- \
            --skip support:: "${filters[@]}"
        if [ ${#filters[@]} -eq 0 ]; then begin_small_benchmark "$server"; fi
        RUST_TEST_THREADS=$(tests_at_once) step "tests on $name" \
            cargo test --locked --test it -- "${output[@]}" "${filters[@]}"
        if [ ${#filters[@]} -eq 0 ]; then
            wait_for_small_benchmark
            step "benchmark on $name, in small" end_of_small_benchmark
        fi
        tell_what_was_not_tried "$name"
    fi
    stop_server
}

# A test that could not try what it is for has passed all the same.
tell_what_was_not_tried() {
    local what longer='^in full only: ' count
    [ -e "$work/left-out" ] || return 0
    while IFS= read -r what; do left_out "on $1" "$what"; done < <(sort -u "$work/left-out" | { grep -v "$longer" || true; })
    count=$(sort -u "$work/left-out" | grep -c "$longer" || true)
    if [ "$count" -gt 0 ]; then left_out "on $1" "without a short form: $count; --all runs them"; fi
    rm "$work/left-out"
}

# The short forms wait more than they work: for the server's disk, for time-outs, for retries that fall due. The slow
# scenarios keep the processors busy. Many tests have a server of their own, so that memory is a limit too.
tests_at_once() {
    local count=$(nproc)
    if [ -z "${STRINGS_QUEUE_SLOW:-}" ]; then count=$((2 * count)); fi
    printf '%s\n' "${RUST_TEST_THREADS:-$((count < 8 ? count : 8))}"
}

# Counts calls; its times mean nothing here. It goes on beside the tests, whose short forms wait more than they work, and lets
# them go first. The slow scenarios measure, and come after it.
begin_small_benchmark() {
    rm -f "$work/benchmark.status"
    start_group small_benchmark "$1"
    benchmark_pid=$!
    if [ -n "${STRINGS_QUEUE_SLOW:-}" ]; then wait_for_small_benchmark; fi
}

# Its number may be another process's afterwards.
wait_for_small_benchmark() {
    [ -n "$benchmark_pid" ] || return 0
    wait "$benchmark_pid" || true
    benchmark_pid=
}

small_benchmark() {
    local status=0
    nice -n 10 cargo test --locked --bench queue -- --server-program "$1" --runs 1 --seconds 1 --jobs 500 --rows 2000 --events 4000 \
        >"$work/benchmark" 2>&1 || status=$?
    echo "$status" >"$work/benchmark.status"
}

end_of_small_benchmark() {
    cat "$work/benchmark"
    return "$(cat "$work/benchmark.status" || echo 1)"
}

# The folder is the server's own; its parent only has to let another user through, as root's server is not root's.
start_server() {
    local name=$1 server=$2 line
    printf '\n==== %s: starting %s\n' "$name" "$server"
    mkdir -m 755 "$work/$name"
    start_group "$program" sandbox --database-only --server-program "$server" --dir "$work/$name" \
        --ready-file "$work/ready" >"$work/sandbox.log" 2>&1
    sandbox_pid=$!
    wait_until_ready || return
    while IFS= read -r line; do
        case $line in STRINGS_QUEUE_TEST_*=*) export "${line?}" ;; esac
    done <"$work/ready"
    export STRINGS_QUEUE_TEST_SERVER=$name STRINGS_QUEUE_TEST_PROGRAM=$server
}

wait_until_ready() {
    local deadline=$((SECONDS + 120))
    until grep -q '^STRINGS_QUEUE_TEST_PORT=' "$work/ready" 2>/dev/null &&
        grep -q '^STRINGS_QUEUE_TEST_SOCKET=' "$work/ready"; do
        kill -0 "$sandbox_pid" 2>/dev/null || return 1
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

stop_server() {
    if [ -n "$sandbox_pid" ]; then
        kill -TERM "$sandbox_pid" 2>/dev/null || true
        wait_for_end "$sandbox_pid" 30 || kill -KILL -- "-$sandbox_pid" 2>/dev/null || true
        wait "$sandbox_pid" 2>/dev/null || true
        sandbox_pid=
    fi
    kill_leftovers
    rm -rf "${work:?}/ready" "$work"/{mariadb,mysql}-*
}

wait_for_end() {
    local pid=$1 deadline=$((SECONDS + $2))
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# A server whose parent died early still has a data folder below ours, which nobody else knows.
kill_leftovers() {
    local file pid argument
    for file in /proc/[0-9]*/cmdline; do
        pid=${file//[^0-9]/}
        while IFS= read -r -d '' argument; do
            if [[ $argument == --datadir=$work/* ]]; then
                say "ending a database server that was left over: process $pid"
                kill -KILL "$pid" 2>/dev/null || true
            fi
        done 2>/dev/null <"$file" || true
    done
}

# --- Beginning and end ----------------------------------------------------------------------------------

clean_up() {
    trap '' INT TERM HUP
    end_group "$step_pid"
    end_group "$benchmark_pid"
    stop_server
    rm -rf "$work"
}

print_summary() {
    if [ ${#reasons[@]} -gt 0 ]; then printf '%s\n' "${reasons[@]}"; fi
    printf '\n==== Summary\n'
    printf '%s\n' "${summary[@]}"
    printf '%s passed, %s failed\n' "$passed" "$failed"
}

main() {
    need_rust
    need_build_tools
    need_database_server
    if [ -n "$require_all" ]; then need_debian_keys; fi
    install_missing
    work=$(mktemp -d "${TMPDIR:-/tmp}/strings-queue-test.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    chmod 755 "$work"
    # What the tests leave lying about, a server of their own too, is below our folder and goes with it.
    mkdir -m 1777 "$work/tmp"
    export TMPDIR=$work/tmp STRINGS_QUEUE_LEFT_OUT=$work/left-out
    if [ -z "$fast" ]; then check_sources; fi
    test_without_database
    program=$(built_program debug)
    step "build of the program" cargo build --locked
    if [ "$step_status" -eq 0 ]; then test_on_all_servers; fi
    print_summary
    [ "$failed" -eq 0 ]
}

main
