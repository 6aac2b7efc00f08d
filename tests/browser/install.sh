#!/bin/sh
# Installs a browser for the tests that look at the report (Debian's Chromium and its driver), and
# starts nothing.
#
#   sudo tests/browser/install.sh
#
# Run again it does nothing.
set -eu

packages="chromium chromium-driver"
programs="chromium chromedriver"

refuse() {
    echo "$1; nothing was changed." >&2
    exit 1
}

missing=
for program in $programs; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then
    echo "A browser is installed already; nothing to do."
    exit 0
fi

command -v apt-get >/dev/null || refuse "This script needs apt-get (Debian)"
[ "$(id -u)" -eq 0 ] || refuse "Installing packages needs root"

export DEBIAN_FRONTEND=noninteractive
echo "Missing:$missing"
echo "apt-get update"
apt-get update -qq
# Ubuntu has packages of these names that hold no browser: they fetch a snap.
case "$(apt-cache policy chromium)" in
    *"Candidate: (none)"* | *snap* | "") refuse "This distribution has no package of Chromium" ;;
esac
echo "apt-get install --no-install-recommends $packages"
# shellcheck disable=SC2086  # a list of words
apt-get install -y -qq --no-install-recommends $packages
echo "Installed: $packages"
