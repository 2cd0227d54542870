# shellcheck shell=bash
# What Debian has beside the packages that a system knows. This Debian's source packages (download_source). And packages of Debian forky and sid on
# an older Debian: downloaded, never installed, as they are built against a newer C library, which must not replace the system's; by an apt with a
# configuration, lists and an archive folder of its own. Sourced after common.sh, never run.
# shellcheck disable=SC2154 # from common.sh
debs=$cache/debs

# The mirror that this system takes its own packages from; nothing while its lists were never read.
debian_mirror() {
    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 'Created-By: Packages' 2>/dev/null |
        grep -v security | head -n 1 || true
}

# That mirror or the one that RR_DEBIAN_MIRROR names, after a look for it.
usable_mirror() {
    local mirror=${RR_DEBIAN_MIRROR:-$(debian_mirror)}
    if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then
        progress "reading this system's package lists" apt-get -qq update >&2 || true
        mirror=$(debian_mirror)
    fi
    [ -n "$mirror" ] || die "no mirror of Debian is among apt's sources; run: apt-get update, or set RR_DEBIAN_MIRROR"
    echo "$mirror"
}

# The system's own proxies and time-outs, which hold for another apt, too; its hooks do not.
network_settings() { apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-Valid-Until)' || true; }

# open_newer_debian packages|sources: from now on apt is that one, which has read its lists; of source packages, too, where those are wanted.
open_newer_debian() {
    local apt=$debs/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg suite mirror
    for suite in apt-get apt-config apt-cache dpkg; do
        command -v "$suite" >/dev/null || die "$suite is missing, so Debian's packages cannot be had"
    done
    [ -f "$keyring" ] || die "$keyring is missing; install the package debian-archive-keyring"
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    mirror=$(usable_mirror)
    for suite in forky sid; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
        [ "$1" != sources ] || echo "deb-src [signed-by=$keyring] $mirror $suite main"
    done >"$apt/sources.list"
    # Nothing is installed in this root: so a download is a package with all that it needs.
    : >"$apt/status"
    cat >"$apt/apt.conf" <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
CONF
    network_settings >>"$apt/apt.conf"
    export APT_CONFIG=$apt/apt.conf
    progress "reading the package lists of Debian forky and sid" apt-get -qq update ||
        die "cannot read the package lists of Debian; check the network, or set RR_DEBIAN_MIRROR"
}

# close_newer_debian FOLDER: moves what was downloaded there, and apt is the system's again.
close_newer_debian() {
    unset APT_CONFIG
    rm -rf "$1"
    mkdir -p "$1"
    mv "$debs"/apt/archives/*.deb "$1/"
    rm -rf "$debs/apt"
}

# download_source PACKAGE FOLDER: this Debian's source package, by a state of apt's own, as the system's need not know any.
download_source() {
    local apt=$2/apt lists
    mkdir -p "$apt/lists/partial"
    if compgen -G '/etc/apt/sources.list.d/debian*.sources' >/dev/null; then
        lists=$apt/own.sources
        sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian*.sources >"$lists"
    else
        lists=$apt/own.list
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$lists"
    fi
    local -a options=(-qq -o Dir::Etc::sourceparts=/dev/null -o "Dir::Etc::sourcelist=$lists" -o "Dir::State::lists=$apt/lists" -o APT::Sandbox::User=root)
    progress "reading the lists of source packages" apt-get "${options[@]}" update
    (cd "$2" && apt-get "${options[@]}" source --download-only "$1" >/dev/null) || die "the source package of $1 could not be had"
    rm -rf "$apt"
}
