#!/bin/sh
# Ends everything that one Skerry instance runs on this machine: the agent's containerd, shims, containers, mounts,
# network namespaces of pods, pod bridge, nft table, cgroups. Keeps the data directory: the next start comes back from it.
# Touches nothing of other instances, other container runtimes or the rest of the machine.
#
#   killall.sh [--instance NAME] [--run-dir DIR] [--netns NAME-OR-PATH]
#
# --instance  as given to skerry                          (default: default)
# --run-dir   as given to skerry                          (default: /run/skerry/<instance>)
# --netns     where bridge and nft table are              (default: the network namespace this runs in)
set -u

instance=default run_dir='' netns=''
while [ $# -gt 0 ]; do
  case $1 in
    --instance) instance=${2:?--instance needs a name}; shift 2 ;;
    --run-dir) run_dir=${2:?--run-dir needs a directory}; shift 2 ;;
    --netns) netns=${2:?--netns needs a name or path}; shift 2 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) echo "killall.sh: unknown argument \"$1\"; see --help" >&2; exit 2 ;;
  esac
done
case $instance in
  '' | -* | *- | *[!a-z0-9-]*) echo "killall.sh: instance \"$instance\" must be lower-case letters, digits or dashes" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo 'killall.sh: needs root; run it with sudo' >&2; exit 1; }
run_dir=${run_dir:-/run/skerry/$instance}
run_dir=${run_dir%/}
case $run_dir in
  /*/*) ;;
  *) echo "killall.sh: run directory \"$run_dir\" must be absolute and not a top directory" >&2; exit 2 ;;
esac
hash=$(printf %s "$instance" | sha256sum | cut -c1-8)
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

# The agent first, so that it does not start anew what ends here. It is known by whole arguments of a Node or skerry
# process: `agent` or `server`, and our instance or run directory (for the default instance: no other one).
is_agent() {
  case $(readlink "$1/exe") in */node | */node-* | */skerry) ;; *) return 1 ;; esac
  tr '\0' '\n' <"$1/cmdline" | awk -v instance="$instance" -v run="$run_dir" '
    $0 == "agent" || $0 == "server" { role = 1 }
    { base = $0; sub(/.*\//, "", base); if (base ~ /^skerry/ || $0 ~ /\/cli\/main\.(ts|mjs)$/) ours = 1 }
    before == "--instance" || index($0, "--instance=") == 1 { named = 1; v = $0; sub(/^--instance=/, "", v); if (v == instance) match_ = 1 }
    before == "--run-dir" || index($0, "--run-dir=") == 1 { named = 1; v = $0; sub(/^--run-dir=/, "", v); sub(/\/$/, "", v); if (v == run) match_ = 1 }
    { before = $0 }
    END { exit !(role && ours && (match_ || (!named && instance == "default"))) }'
}
for dir in /proc/[0-9]*; do
  if is_agent "$dir" 2>/dev/null; then
    kill -KILL "${dir#/proc/}" 2>/dev/null && echo "ended agent ${dir#/proc/}"
  fi
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

# Deepest mounts first; only below our own run directory and, by mountinfo, nothing else.
awk -v dir="$run_dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
  umount -l "$(printf %b "$mount")" 2>/dev/null || echo "killall.sh: cannot unmount $mount" >&2
done

enter=''
if [ -n "$netns" ]; then
  case $netns in /*) ;; *) netns=/run/netns/$netns ;; esac
  enter="nsenter --net=$netns"
fi
$enter ip link delete "sk-$hash" 2>/dev/null && echo "removed bridge sk-$hash"
$enter nft delete table ip "skerry_$hash" 2>/dev/null && echo "removed nft table skerry_$hash"
rm -rf "/var/lib/cni/results/skerry-$hash-"*
for sandbox in "$run_dir/containerd/io.containerd.grpc.v1.cri/sandboxes"/*; do
  rm -f "/var/lib/cni/results/cni-loopback-${sandbox##*/}-lo"
done

for root in /sys/fs/cgroup "/sys/fs/cgroup"/*; do
  [ -d "$root/skerry-$instance" ] && find "$root/skerry-$instance" -depth -type d -exec rmdir {} + 2>/dev/null
done
rm -rf "$run_dir"
echo "instance $instance: nothing runs any more"
