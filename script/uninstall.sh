#!/bin/sh
# Removes one Skerry instance for good: everything killall.sh ends, its service, its data directory with images, pods'
# volumes, node identity and, on a server, the cluster's whole state. Asks first, unless --yes.
#
#   uninstall.sh [--data-dir DIR] [--netns NAME-OR-PATH] [--yes]
#
# --data-dir  as given to skerry; it names the instance   (default: as installed, else /var/lib/skerry)
# --netns     where bridge and nft table are              (default: the network namespace this runs in)
set -eu

here=$(dirname -- "$(realpath -- "$0")")
program=$(dirname -- "$here")
# Of the two places of an installation this script is in one.
if [ -e "$(dirname -- "$program")/installed" ]; then program=$(dirname -- "$program"); fi
# What install.sh wrote down, when it put this script here.
recorded() { sed -n "s/^$1=//p" "$program/installed" 2>/dev/null || true; }
data_dir=$(recorded data)
data_dir=${data_dir:-/var/lib/skerry} yes='' pass=''
while [ $# -gt 0 ]; do
  case $1 in
    --data-dir) data_dir=${2:?--data-dir needs a directory}; shift 2 ;;
    --netns) pass="$pass $1 ${2:?$1 needs a value}"; shift 2 ;;
    --yes) yes=1; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) echo "uninstall.sh: unknown argument \"$1\"; see --help" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo 'uninstall.sh: needs root; run it with sudo' >&2; exit 1; }
data_dir=$(realpath -ms -- "$data_dir")
# Only what looks like ours is deleted: a mistyped directory is refused.
case $data_dir in
  /*/*) ;;
  *) echo "uninstall.sh: data directory \"$data_dir\" must not be a top directory" >&2; exit 2 ;;
esac
if [ -d "$data_dir" ] && [ ! -d "$data_dir/agent" ] && [ ! -d "$data_dir/server" ]; then
  echo "uninstall.sh: \"$data_dir\" holds neither agent/ nor server/, so it is not a Skerry data directory; give --data-dir" >&2
  exit 2
fi
if [ -z "$yes" ]; then
  printf 'Remove Skerry and all of %s? Type yes: ' "$data_dir"
  read -r answer
  [ "$answer" = yes ] || { echo 'nothing was removed'; exit 1; }
fi

systemd=$(recorded systemd)
systemd=${systemd:-/etc/systemd/system}
# Services that were installed for this very directory, or for the default one, which they need not name.
for file in "$systemd"/skerry*.service; do
  [ -e "$file" ] || continue
  env_file=$(sed -n 's/^EnvironmentFile=-\{0,1\}//p' "$file" | head -n 1)
  named=$(cat "$file" ${env_file:+"$env_file"} 2>/dev/null | sed -n 's/.*\(--data-dir[ =]\|SKERRY_DATA_DIR=\)"\{0,1\}\([^ "]*\).*/\2/p' | head -n 1)
  [ "${named:-/var/lib/skerry}" = "$data_dir" ] || continue
  if [ -d /run/systemd/system ]; then systemctl disable --now "$(basename "$file")" 2>/dev/null || true; fi
  rm -f "$file" "$systemd/multi-user.target.wants/$(basename "$file")" ${env_file:+"$env_file"}
done
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
# What an agent asked of logind counts until the last one has gone.
ls "$systemd"/skerry*.service >/dev/null 2>&1 || rm -f "$(dirname "$systemd")/logind.conf.d/99-skerry.conf"
for role in agent server; do
  if [ "$(recorded data)" = "$data_dir" ] && [ -e "/etc/init.d/skerry-$role" ] && grep -qF "$(recorded etc)/$role.env" "/etc/init.d/skerry-$role"; then
    rc-service "skerry-$role" stop 2>/dev/null || true
    rc-update del "skerry-$role" default 2>/dev/null || true
    rm -f "/etc/init.d/skerry-$role" "/var/log/skerry-$role.log"
  fi
done
# shellcheck disable=SC2086 # a list of plain options
sh "$here/killall.sh" --data-dir "$data_dir" $pass
if awk -v dir="$data_dir/" 'index($5, dir) == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo; then
  echo "uninstall.sh: something is still mounted below $data_dir; nothing of it was deleted" >&2
  exit 1
fi
rm -rf "$data_dir"
# The program itself, when install.sh put it there for this directory.
if [ "$(recorded data)" = "$data_dir" ]; then
  bin=$(recorded bin) etc=$(recorded etc)
  for link in "$bin"/skerry*; do
    case $(readlink "$link" 2>/dev/null) in "$program"/*) rm -f "$link" ;; esac
  done
  rm -f "$etc/agent.env" "$etc/server.env"
  # Settings that somebody wrote there are theirs.
  rmdir "$etc" 2>/dev/null || true
  rm -rf "$program"
fi
echo "removed, with $data_dir"
