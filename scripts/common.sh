# shellcheck shell=bash
# What every script here needs: where things lie, and how they speak. Sourced, never run.
#
# The cache folder holds all that the set-up makes outside of the project: $RR_CACHE, or else
# $XDG_CACHE_HOME/rr-runtime, or else ~/.cache/rr-runtime. CONTRIBUTING.md lists what is in it.
# shellcheck disable=SC2034 # used by those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${RR_CACHE:-${XDG_CACHE_HOME:-${HOME:?neither RR_CACHE nor HOME is set}/.cache}/rr-runtime}
# The runtime refuses to load from folders that others can write to.
umask 022
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
self=$(basename "$0")

say() { printf '%s: %s\n' "$self" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# progress TEXT COMMAND...: runs a command whose output is of interest only if it fails, and says every few
# seconds that it still runs.
progress() {
    local text=$1 log pid start=$SECONDS status=0 shown=0
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 &
    pid=$!
    if [ -t 2 ]; then
        while kill -0 "$pid" 2>/dev/null; do
            printf '\r%s: %s, %d s ' "$self" "$text" $((SECONDS - start)) >&2
            sleep 0.2
        done
        printf '\r\033[K' >&2
    else
        say "$text"
        while kill -0 "$pid" 2>/dev/null; do
            sleep 0.2
            if [ $((SECONDS - start)) -ge $((shown + 10)) ]; then
                shown=$((SECONDS - start))
                say "$text, $shown s"
            fi
        done
    fi
    wait "$pid" || status=$?
    if [ "$status" != 0 ]; then
        tail -n 25 "$log" >&2
    elif [ -t 2 ] || [ $((SECONDS - start)) -gt 1 ]; then
        say "$text: done in $((SECONDS - start)) s"
    fi
    rm -f "$log"
    return "$status"
}

# go_compiler: prints the path of a Go with go:wasmexport: the one of the PATH, or else the one that setup-go got.
go_compiler() {
    local go version
    for go in "$(command -v go || true)" "$cache/go/dist/go/bin/go"; do
        [ -x "$go" ] || continue
        version=$(GOENV=off GOTOOLCHAIN=local XDG_CONFIG_HOME=$cache/go/config "$go" env GOVERSION 2>/dev/null) || continue
        if [ "$(printf '%s\n' go1.24 "$version" | sort -V | head -n 1)" = go1.24 ]; then
            printf '%s' "$go"
            return
        fi
    done
    return 1
}
