#!/bin/sh
# Ends everything that one Skerry instance runs on this machine: agent and server, their containerd, shims, containers,
# mounts, network namespaces of pods, pod bridge, nft table, cgroups. Keeps the data directory: the next start comes back
# from it. Touches nothing of other instances, other container runtimes or the rest of the machine.
#
#   killall.sh [--data-dir DIR] [--netns NAME-OR-PATH] [--instance NAME] [--run-dir DIR]
#
# --data-dir  as given to skerry; it names the instance   (default: as installed, else /var/lib/skerry)
# --netns     where bridge and nft table are              (default: the network namespace this runs in)
# --instance  for an instance whose data directory is gone: its name, as the directory in /run/skerry
# --run-dir   the instance's volatile state               (default: /run/skerry/<instance>)
set -u

# What install.sh wrote down, when it put this script here.
program=$(dirname -- "$(dirname -- "$(realpath -- "$0")")")
installed=$(dirname -- "$program")/installed
[ -e "$installed" ] || installed=$program/installed
data_dir=$(sed -n 's/^data=//p' "$installed" 2>/dev/null)
data_dir=${data_dir:-/var/lib/skerry} instance='' run_dir='' netns=''
while [ $# -gt 0 ]; do
  case $1 in
    --data-dir) data_dir=${2:?--data-dir needs a directory}; shift 2 ;;
    --instance) instance=${2:?--instance needs a name}; shift 2 ;;
    --run-dir) run_dir=${2:?--run-dir needs a directory}; shift 2 ;;
    --netns) netns=${2:?--netns needs a name or path}; shift 2 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) echo "killall.sh: unknown argument \"$1\"; see --help" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo 'killall.sh: needs root; run it with sudo' >&2; exit 1; }
short_hash() { printf %s "$1" | sha256sum | cut -c1-8; }
if [ -z "$instance" ]; then
  # The same name as the program makes from the directory.
  data_dir=$(realpath -ms -- "$data_dir")
  if [ "$data_dir" = /var/lib/skerry ]; then instance=default; else instance=$(short_hash "$data_dir"); fi
else
  data_dir=''
fi
case $instance in
  '' | -* | *- | *[!a-z0-9-]*) echo "killall.sh: instance \"$instance\" must be lower-case letters, digits or dashes" >&2; exit 2 ;;
esac
run_dir=${run_dir:-/run/skerry/$instance}
run_dir=${run_dir%/}
case $run_dir in
  /*/*) ;;
  *) echo "killall.sh: run directory \"$run_dir\" must be absolute and not a top directory" >&2; exit 2 ;;
esac
hash=$(short_hash "$instance")
socket=$run_dir/containerd.sock
config=$run_dir/containerd.toml

# Pids whose command line holds one of our two paths as a whole argument, and all in our cgroups.
own_pids() {
  for dir in /proc/[0-9]*; do
    # A process may end while we look: no news.
    { tr '\0' '\n' <"$dir/cmdline" | grep -Fxq -e "$socket" -e "$config"; } 2>/dev/null && echo "${dir#/proc/}"
  done
  # Containers whose shim died before them are known by their cgroup alone.
  for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -d "$root/skerry-$instance" ] && find "$root/skerry-$instance" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -un
  return 0
}
# The pids given (one a line) and everything below them.
with_children() {
  ps -e -o pid= -o ppid= | awk -v roots="$1" '
    BEGIN { n = split(roots, r, /[ \n]+/); for (i = 1; i <= n; i++) if (r[i] != "") own[r[i]] = 1 }
    { pid[NR] = $1; parent[NR] = $2 }
    END { do { grown = 0; for (i = 1; i <= NR; i++) if ((parent[i] in own) && !(pid[i] in own)) { own[pid[i]] = 1; grown = 1 } } while (grown)
          for (p in own) if (p > 1) print p }'
}

# A shim that is killed leaves its socket, whose place is fixed in containerd. Known from now on: containerd may tidy up the
# shim's directory while it is ended here.
shim_addresses() { cat "$run_dir"/containerd/io.containerd.runtime.v2.task/*/*/address 2>/dev/null | sed 's|unix://|\n|g'; }
shim_sockets=$(shim_addresses)

# Agent and server first, so that they do not start anew what ends here. Their lock files hold "pid start@boot": only
# that very process is ended, never one that has got its number since.
boot=$(cat /proc/sys/kernel/random/boot_id)
for role in agent server; do
  lock=$data_dir/$role/lock
  [ -n "$data_dir" ] && [ -r "$lock" ] || continue
  read -r pid started <"$lock" || [ -n "${pid:-}" ] || continue
  lives() { [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }')@$boot" = "$started" ]; }
  lives && kill -KILL "$pid" 2>/dev/null && echo "ended $role, process $pid"
  tries=0
  while lives && [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
done

tries=0
while pids=$(own_pids); [ -n "$pids" ] && [ $tries -lt 50 ]; do
  # Word splitting is meant: a list of numbers.
  kill -KILL $(with_children "$pids") 2>/dev/null
  tries=$((tries + 1))
  sleep 0.1
done
left=$(own_pids | tr '\n' ' ')
if [ -n "$left" ]; then
  echo "killall.sh: processes ${left}survive SIGKILL, they hang in the kernel; reboot, then run this again" >&2
  exit 1
fi

# Deepest mounts first; only below our own directories (in the data directory: memory volumes of pods).
for top in "$run_dir" ${data_dir:+"$data_dir"}; do
  awk -v dir="$top/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount -l "$(printf %b "$mount")" 2>/dev/null || echo "killall.sh: cannot unmount $mount" >&2
  done
done

enter=''
if [ -n "$netns" ]; then
  case $netns in /*) ;; *) netns=/run/netns/$netns ;; esac
  enter="nsenter --net=$netns"
fi
$enter ip link delete "sk-$hash" 2>/dev/null && echo "removed bridge sk-$hash"
$enter nft delete table ip "skerry_$hash" 2>/dev/null && echo "removed nft table skerry_$hash"
rm -rf "/var/lib/cni/results/skerry-$hash-"*
printf '%s\n%s\n' "$shim_sockets" "$(shim_addresses)" | while read -r shim; do
  case $shim in /run/containerd/s/*) rm -f "$shim" ;; esac
done
for sandbox in "$run_dir/containerd/io.containerd.grpc.v1.cri/sandboxes"/*; do
  rm -f "/var/lib/cni/results/cni-loopback-${sandbox##*/}-lo"
done

for root in /sys/fs/cgroup "/sys/fs/cgroup"/*; do
  [ -d "$root/skerry-$instance" ] && find "$root/skerry-$instance" -depth -type d -exec rmdir {} + 2>/dev/null
done
rm -rf "$run_dir"
echo "instance $instance: nothing runs any more"
