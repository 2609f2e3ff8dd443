#!/usr/bin/env bash
# The database servers that strings-queue is tested on: names them, finds them, fetches the missing ones.
#
#   scripts/servers.sh list         the known names
#   scripts/servers.sh available    the names usable on this machine now, without a network
#   scripts/servers.sh path NAME    the server program of an available one
#   scripts/servers.sh fetch NAME   the same, after unpacking it into the cache if need be
#
# Names and paths go to stdout, progress to stderr. A server of the right version that the system has
# installed is used as it is. Any other comes from the Debian archive by apt-get, with a sources list and
# a state of its own, so the machine's apt is untouched and signatures are checked; it is unpacked beside
# its own C library, never installed, and nothing of it is started. No root needed.
#
# The cache is STRINGS_QUEUE_CACHE, else /var/cache/strings-queue for root, else
# ${XDG_CACHE_HOME:-~/.cache}/strings-queue. To get a newer build, delete a server's folder there.

set -euo pipefail

readonly known_servers=(mariadb-10.11 mariadb-11.8 mysql-9.7)
readonly default_mirror=http://deb.debian.org/debian

say() { printf '%s\n' "strings-queue: $*" >&2; }

die() {
    say "$*"
    exit 1
}

usage() { sed -n '2,/^$/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

# Sets what the archive has under the name: suite, program, packages (with all they depend on), and
# extras (packages unpacked alone for a client and the plugins: what they depend on is Perl and more).
describe() {
    case $1 in
    mariadb-10.11) suite=bookworm program=mariadbd ;;
    mariadb-11.8) suite=trixie program=mariadbd ;;
    mysql-9.7) suite=unstable program=mysqld ;;
    *) die "unknown server '$1'; known: ${known_servers[*]}" ;;
    esac
    case $program in
    mariadbd) packages=(mariadb-server-core mariadb-client-core) extras=(mariadb-client mariadb-server) ;;
    mysqld) packages=(mysql-server-core mysql-client-core) extras=() ;;
    esac
}

cache_dir() {
    local dir
    if [ -n "${STRINGS_QUEUE_CACHE:-}" ]; then
        dir=$STRINGS_QUEUE_CACHE
    elif [ "$(id -u)" -eq 0 ]; then
        dir=/var/cache/strings-queue
    else
        dir=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/strings-queue
    fi
    realpath -m "$dir"
}

# --- Finding ------------------------------------------------------------------------------------------

# `/usr/sbin/mariadbd  Ver 10.11.6-MariaDB-…` -> `mariadb-10.11`; the name that a program would have here.
name_of_program() {
    local text kind=mysql
    text=$("$1" --no-defaults --version 2>/dev/null) || return 1
    case $text in *MariaDB*) kind=mariadb ;; esac
    [[ $text =~ Ver\ ([0-9]+\.[0-9]+) ]] || return 1
    printf '%s\n' "$kind-${BASH_REMATCH[1]}"
}

# An ordinary user's PATH often lacks the sbin folders, where servers live.
installed_program() {
    local program path
    for program in mariadbd mysqld; do
        if path=$(PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$program"); then
            printf '%s\n' "$path"
            return
        fi
    done
    return 1
}

find_server() {
    local path
    if path=$(installed_program) && [ "$(name_of_program "$path")" = "$1" ]; then
        printf '%s\n' "$path"
        return
    fi
    path=$(cache_dir)/$1
    if [ -x "$path/mariadbd" ]; then
        printf '%s\n' "$path/mariadbd"
    elif [ -x "$path/mysqld" ]; then
        printf '%s\n' "$path/mysqld"
    else
        return 1
    fi
}

# An installed server of a version that is not among the known ones is as good to test on.
available() {
    local path name
    {
        printf '%s\n' "${known_servers[@]}"
        if path=$(installed_program); then name_of_program "$path" || true; fi
    } | awk '!seen[$0]++' | while read -r name; do
        if find_server "$name" >/dev/null; then printf '%s\n' "$name"; fi
    done
}

# --- Fetching -----------------------------------------------------------------------------------------

# The Debian mirrors that this machine's apt already uses, then the public default. A wrong guess does no
# harm: what the Debian keyring has not signed is refused, and the next mirror is tried.
mirrors() {
    {
        # shellcheck disable=SC2016 # apt-get replaces these, not the shell
        apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
            awk '/^https?:/ && (($2 == "Debian" && $3 == "Debian") || $1 ~ "^https?://[^/]+/debian/?$") { print $1 }' || true
        printf '%s\n' "$default_mirror"
    } | sed 's,/*$,,' | awk '!seen[$0]++'
}

debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -r "$file" ]; then
            printf '%s\n' "$file"
            return
        fi
    done
    die "the keys of the Debian archive are missing: apt-get install debian-archive-keyring"
}

# An apt of its own in folder $1: proxies and the like stay the machine's; sources, state, pins and hooks do not.
make_private_apt() {
    local home=$1 mirror=$2 keyring
    keyring=$(debian_keyring) || exit
    mkdir -p "$home/lists/partial" "$home/cache/archives/partial" "$home/debs"
    : >"$home/status"
    cat >"$home/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Targets: Packages
Signed-By: $keyring
END
    cat >"$home/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "$home/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$home";
Dir::State::lists "$home/lists";
Dir::State::status "$home/status";
Dir::Cache "$home/cache";
Dir::Cache::archives "$home/cache/archives";
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
END
}

# $1 is the tool, the rest its arguments.
private_apt() { "$1" -q -c "$apt_home/apt.conf" "${@:2}"; }

update_from_any_mirror() {
    local mirror
    while read -r mirror; do
        make_private_apt "$apt_home" "$mirror"
        if private_apt apt-get update >>"$log" 2>&1 &&
            private_apt apt-cache show "${packages[@]}" >/dev/null 2>>"$log"; then
            return
        fi
        say "$mirror does not give ${packages[0]} of $suite"
    done < <(mirrors)
    return 1
}

# Perl is only for the maintainer scripts, which never run here.
dependencies() {
    private_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "${packages[@]}" | grep -E '^[a-z0-9]' | grep -vE '^(perl|lib.*perl)' | sort -u
}

# A virtual package has no file of its own: what provides it is in the list as well.
with_a_file() {
    local names
    mapfile -t names
    { private_apt apt-cache show --no-all-versions "${names[@]}" 2>>"$log" || true; } | sed -n 's/^Package: //p' | sort -u
}

download_and_unpack() {
    local root=$1 deb wanted
    mapfile -t wanted < <(dependencies | with_a_file)
    [ ${#wanted[@]} -gt 0 ] || return 1
    (cd "$apt_home/debs" && private_apt apt-get download "${wanted[@]}" "${extras[@]}") >>"$log" 2>&1 || return 1
    for deb in "$apt_home"/debs/*.deb; do
        dpkg -x "$deb" "$root" || return 1
    done
    # For every user of this machine, and no program in it becomes root.
    chmod -R a+rX,u+w,ug-s "$root"
}

# shellcheck disable=SC2016 # the wrapper replaces it when it runs
readonly dir_in_wrapper='$root'

# The first path that exists, below folder $1.
first_of() {
    local root=$1 path
    shift
    for path; do
        if [ -e "$root/$path" ]; then
            printf '%s\n' "$path"
            return
        fi
    done
    return 1
}

# Writes $1/NAME, which runs the unpacked program $2 by the unpacked C library. exec: the script's process
# id becomes the program's. Options of ours come after a leading defaults option, which must stay the first,
# and before the caller's, which so win.
write_wrapper() {
    local dir=$1 binary=$2 loader multiarch
    shift 2
    # The loader itself, not the link to it: that one may be absolute and lead to the machine's own.
    loader=$(cd "$dir/root" && find . -type f -name 'ld-linux*.so.*' -print -quit)
    loader=${loader#./}
    multiarch=$(basename "${loader%/*}")
    cat >"$dir/${binary##*/}" <<END
#!/bin/sh
# ${binary##*/}, unpacked and run beside its own C library. Written by strings-queue's scripts/servers.sh.
root=\$(readlink -f "\$0")
root=\${root%/*}/root
case "\${1:-}" in
--no-defaults | --defaults-file=* | --defaults-extra-file=*) first=\$1 && shift ;;
*) first=--no-defaults ;;
esac
exec "\$root/$loader" --argv0 "\$root/$binary" \\
    --library-path "\$root/usr/lib/$multiarch:\$root/lib/$multiarch" \\
    "\$root/$binary" "\$first" $* "\$@"
END
    chmod 755 "$dir/${binary##*/}"
}

write_wrappers() {
    local dir=$1 share client server charsets more=()
    server=$(first_of "$dir/root" "usr/sbin/$program" "usr/libexec/$program" "usr/bin/$program") ||
        die "the packages have no $program"
    share=$(cd "$dir/root" && compgen -G 'usr/share/m*/charsets')
    share=$dir_in_wrapper/${share%/charsets}
    charsets="--character-sets-dir=\"$share/charsets\""
    # The folder that Debian's mysqld has compiled in comes only with an installation, and it must exist.
    if [ "$program" = mysqld ]; then more=(--secure-file-priv=NULL); fi
    write_wrapper "$dir" "$server" "${more[@]}" "--basedir=\"$dir_in_wrapper/usr\"" "--lc-messages-dir=\"$share\"" \
        "$charsets" "--plugin-dir=\"$dir_in_wrapper/$(first_of "$dir/root" usr/lib/{mysql,mariadb}/plugin)\""
    for client in mariadb mariadb-binlog mysql mysqlbinlog; do
        if [ -f "$dir/root/usr/bin/$client" ] && [ ! -L "$dir/root/usr/bin/$client" ]; then
            write_wrapper "$dir" "usr/bin/$client" "$charsets"
        fi
    done
}

# Complete or nothing: everything happens in a folder beside the final one, which gets its name at the end.
unpack_server() {
    local name=$1 cache=$2 work found
    work=$(mktemp -d "$cache/.$name.XXXXXX")
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$work'" EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$work"
    apt_home=$work/apt log=$work/log
    mkdir -p "$work/$name/root"
    say "fetching $name from Debian $suite into $cache"
    update_from_any_mirror || die "no mirror gives $name: $(tail -n 3 "$log")"
    download_and_unpack "$work/$name/root" || die "cannot download $name: $(tail -n 3 "$log")"
    write_wrappers "$work/$name"
    found=$("$work/$name/$program" --no-defaults --version) || die "$name does not start on this machine"
    case $(name_of_program "$work/$name/$program") in
    "$name") ;;
    *) say "note: the archive now has another version under $name: $found" ;;
    esac
    mv -T "$work/$name" "$cache/$name"
}

fetch() {
    local name=$1 cache
    if find_server "$name"; then return; fi
    describe "$name"
    command -v apt-get >/dev/null || die "$name can be fetched only where there is apt-get"
    umask 022
    cache=$(cache_dir)
    mkdir -p "$cache"
    exec 9>"$cache/.lock-$name"
    flock 9
    # Whoever held the lock may have fetched it, or was killed in the middle.
    if ! find_server "$name" >/dev/null; then
        rm -rf "$cache/.$name."??????
        (unpack_server "$name" "$cache") >&2
    fi
    find_server "$name"
}

main() {
    case "${1:-}/$#" in
    list/1) printf '%s\n' "${known_servers[@]}" ;;
    available/1) available ;;
    path/2) find_server "$2" || die "$2 is not on this machine: scripts/servers.sh fetch $2" ;;
    fetch/2) fetch "$2" ;;
    -h/1 | --help/1) usage ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

main "$@"
