#!/bin/sh
# Installs what a private SLURM cluster needs (Debian 12; 17 packages, 73 MB), and starts nothing.
#
#   sudo tests/slurm_cluster/install.sh
#
# Run again it does nothing. On a machine that already has a SLURM from elsewhere it changes
# nothing and ends with status 1: the packages would get in the way of a cluster that is in use.
set -eu

packages="slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core mariadb-client-core"
programs="sbatch slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db my_print_defaults"
policy=/usr/sbin/policy-rc.d

PATH=$PATH:/usr/sbin:/sbin

refuse() {
    echo "$1; nothing was changed." >&2
    exit 1
}

missing=
for program in $programs; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then
    echo "Everything is installed already; nothing to do."
    exit 0
fi

# Debian's packages make an empty /etc/slurm, so it is the configuration that tells a cluster.
for conf in "${SLURM_CONF:-}" /etc/slurm/slurm.conf /run/slurm/conf/slurm.conf; do
    [ -n "$conf" ] && [ -e "$conf" ] && refuse "This machine belongs to a cluster ($conf)"
done
# A sbatch that dpkg knows can be our own installation, cut short: that one is completed.
if sbatch=$(command -v sbatch) && ! dpkg -S "$(readlink -f "$sbatch")" >/dev/null 2>&1; then
    refuse "This machine has a SLURM that is not Debian's ($sbatch)"
fi
command -v apt-get >/dev/null || refuse "This script needs apt-get (Debian or Ubuntu)"
[ "$(id -u)" -eq 0 ] || refuse "Installing packages needs root"

# The packages bring services. With this policy none of them is started by the installation.
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    echo "$policy keeps services from starting until the packages are in."
fi

export DEBIAN_FRONTEND=noninteractive
echo "Missing:$missing"
echo "apt-get update"
apt-get update -qq
echo "apt-get install --no-install-recommends $packages"
# shellcheck disable=SC2086  # a list of words
apt-get install -y -qq --no-install-recommends $packages
echo "Installed: $packages"
