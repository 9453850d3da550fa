# Shared by the scripts beside it; to be sourced. Says what it does, installs only what is missing, fails in a sentence.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
PATH=$PATH:/usr/sbin:/sbin
PYTHON=/usr/bin/python3         # Debian's, the one that python3-scapy and python3-pytest are installed for
MINIMUM_SWIFT=6.2

say() { printf '== %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
is_root() { [ "$(id -u)" -eq 0 ]; }

# Swift cannot be installed with apt: say so if it is absent or too old.
need_swift() {
    command -v swift >/dev/null || fail "swift is not on PATH: install Swift $MINIMUM_SWIFT or later (swift.org) and try again"
    local version
    version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p' | head -n 1)
    [ -n "$version" ] || fail "cannot tell the version of $(command -v swift)"
    [ "$(printf '%s\n%s\n' "$MINIMUM_SWIFT" "$version" | sort -V | head -n 1)" = "$MINIMUM_SWIFT" ] \
        || fail "Swift $version is too old: Causeway needs $MINIMUM_SWIFT or later"
}

# Is what Debian package $1 brings already there, however it came?
present() {
    case $1 in
        pkg-config) command -v pkg-config >/dev/null ;;
        libsodium-dev) command -v pkg-config >/dev/null && pkg-config --exists libsodium ;;
        libssl-dev) command -v pkg-config >/dev/null && pkg-config --exists 'libcrypto >= 3.0' ;;
        libpcap-dev) command -v pkg-config >/dev/null && pkg-config --exists libpcap ;;
        iproute2) command -v ip >/dev/null ;;
        iputils-ping) command -v ping >/dev/null ;;
        nftables) command -v nft >/dev/null ;;
        procps) command -v sysctl >/dev/null ;;
        smcroute) command -v smcrouted >/dev/null ;;
        binutils) command -v objdump >/dev/null ;;
        python3) [ -x $PYTHON ] ;;
        python3-scapy) [ -x $PYTHON ] && $PYTHON -c 'import scapy' 2>/dev/null ;;
        python3-pytest) [ -x $PYTHON ] && $PYTHON -c 'import pytest' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Installs those of the Debian packages $@ that are missing.
need_packages() {
    local package missing=()
    for package in "$@"; do
        present "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    is_root || fail "these Debian packages are missing: ${missing[*]} (as root: apt-get install ${missing[*]})"
    command -v apt-get >/dev/null || fail "these are missing, and there is no apt-get to install them: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    apt-get update -q </dev/null || fail "apt-get update failed; packages still missing: ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null \
        || fail "apt-get could not install: ${missing[*]}"
    for package in "${missing[@]}"; do
        present "$package" || fail "$package was installed, but what it should bring is still not found"
    done
}

need_build_tools() {
    need_swift
    need_packages pkg-config libsodium-dev libssl-dev libpcap-dev
}

need_live_tools() {
    need_packages python3 iproute2 iputils-ping ethtool procps nftables tcpdump iperf3 smcroute python3-scapy python3-pytest
}

build_release() {
    say "building causeway (release)"
    swift build -c release --product causeway </dev/null || fail "the release build failed"
    CAUSEWAY_BIN=$(swift build -c release --show-bin-path)/causeway
    [ -x "$CAUSEWAY_BIN" ] || fail "the build left no program at $CAUSEWAY_BIN"
    export CAUSEWAY_BIN
}
