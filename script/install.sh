#!/bin/sh
# Joins this machine to a Skerry server as a node:
#   curl -sfk https://SERVER:6443/install.sh | SKERRY_URL=https://SERVER:6443 SKERRY_TOKEN=… sh -
# or makes it a server, with what is beside this script (a checkout, or an unpacked bundle):
#   script/install.sh server [--no-agent …]
# Flags behind the role (`agent` or `server`) go to the service. The token's CA hash is checked before anything else is fetched or sent.
# Variables: SKERRY_URL, SKERRY_TOKEN (a node needs both, once), SKERRY_NODE_NAME, SKERRY_DATA_DIR (/var/lib/skerry),
# INSTALL_SKERRY_TARBALL (a bundle of `skerry bundle`, instead of fetching one), INSTALL_SKERRY_DIR (/usr/local/lib/skerry), INSTALL_SKERRY_BIN_DIR
# (/usr/local/bin), INSTALL_SKERRY_ETC_DIR (/etc/skerry), INSTALL_SKERRY_SYSTEMD_DIR (/etc/systemd/system; giving it writes the
# unit also where systemd does not run, as in the image of a disk), INSTALL_SKERRY_SKIP_START=true,
# INSTALL_SKERRY_SKIP_ENGINES=true. SKERRY_* settings are kept for the service.
set -eu
say() { printf '[skerry] %s\n' "$*"; }
die() { printf '[skerry] %s\n' "$*" >&2; exit 1; }

role=agent
case "${1:-}" in
  agent | server) role=$1; shift ;;
  '' | -*) ;;
  *) die "'$1' is neither 'agent' nor 'server'" ;;
esac
args=""
for arg in "$@"; do
  # Read alike by systemd, openrc and sh without quotes.
  case $arg in *[!A-Za-z0-9_.,:/=@*+~-]*) die "flag '$arg' has a character that a service's command line cannot hold: set it as a SKERRY_* variable" ;; esac
  args="$args $arg"
done
[ "$(id -u)" -eq 0 ] || die "user id $(id -u) is not root: run with sudo"
url=${SKERRY_URL:-${SKERRY_SERVER:-}}
url=${url%/}
token=${SKERRY_TOKEN:-}
tarball=${INSTALL_SKERRY_TARBALL:-}
case "$(uname -m)" in
  x86_64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) die "machine '$(uname -m)' cannot be a node (x86_64 or aarch64 can); it can be a thing that speaks HTTP or MQTT to a node" ;;
esac
dir=${INSTALL_SKERRY_DIR:-/usr/local/lib/skerry}
bin=${INSTALL_SKERRY_BIN_DIR:-/usr/local/bin}
etc=${INSTALL_SKERRY_ETC_DIR:-/etc/skerry}
systemd=${INSTALL_SKERRY_SYSTEMD_DIR:-/etc/systemd/system}
data=$(realpath -ms -- "${SKERRY_DATA_DIR:-/var/lib/skerry}")
for path in "$dir" "$bin" "$etc" "$systemd"; do
  case $path in /*) ;; *) die "INSTALL_SKERRY_* '$path' is not an absolute path" ;; esac
done
there=$(sed -n 's/^data=//p' "$dir/installed" 2>/dev/null || true)
[ "${there:-$data}" = "$data" ] || die "'$dir' holds the program of the instance in '$there': give another INSTALL_SKERRY_DIR for the one in '$data', or remove that one with skerry-uninstall.sh"
# A node that has joined needs no token again.
if [ "$role" = agent ] && [ ! -e "$data/agent/identity.json" ]; then
  [ -n "$url" ] || die "SKERRY_URL is empty: set it to the server's address, like https://10.0.0.1:6443"
  [ -n "$token" ] || die "SKERRY_TOKEN is empty: make one on the server with 'skerry token create'"
fi
case "$url" in https://* | '') ;; *) die "SKERRY_URL '$url' does not begin with https://" ;; esac
# Where this script lies beside a program, that program is installed; piped into sh it lies nowhere.
beside=""
case "$0" in *install.sh) beside=$(dirname -- "$(dirname -- "$(realpath -- "$0")")") ;; esac
[ -n "$beside" ] && [ -e "$beside/dist/skerry.mjs" ] || beside=""
[ -n "$url$tarball$beside" ] || die "nothing to install from: give INSTALL_SKERRY_TARBALL, or SKERRY_URL of a server, or run this script from a checkout with a bundle (npm run bundle)"
for tool in tar sha256sum ${url:+curl openssl}; do command -v "$tool" >/dev/null 2>&1 || die "'$tool' is missing: install it and run this again"; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -n "$url" ]; then
  say "checking the server's identity"
  curl -sfk --max-time 20 "$url/skerry/v1/cacerts" -o "$work/ca.pem" || die "no answer from $url/skerry/v1/cacerts: is the address right and the server up?"
  case "$token" in
    S10*::*)
      want=${token#S10}
      want=${want%%::*}
      have=$(openssl x509 -in "$work/ca.pem" -outform der | sha256sum | cut -d' ' -f1)
      [ "$want" = "$have" ] || die "the server at $url has CA $have, the token was made for $want: wrong address, or someone in between"
      ;;
    *) say "the token pins no CA: trusting $url unseen (use the long token to check it)" ;;
  esac
fi

# Gives memory back that glibc keeps (a server's, above all): taken where it can be had.
jemalloc="/usr/lib/$(uname -m)-linux-gnu/libjemalloc.so.2"
apt_install() {
  say "installing $*"
  (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@") >"$work/apt.log" 2>&1
}
if [ "${INSTALL_SKERRY_SKIP_ENGINES:-}" != true ]; then
  missing=""
  case " $args " in
    *" --no-agent "*) ;;
    *)
      command -v containerd >/dev/null 2>&1 || missing="$missing containerd"
      command -v runc >/dev/null 2>&1 || missing="$missing runc"
      [ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
      command -v nft >/dev/null 2>&1 || [ -e /usr/sbin/nft ] || missing="$missing nftables"
      ;;
  esac
  if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || die "missing:$missing; install them with this system's package manager and run this again"
    # shellcheck disable=SC2086
    apt_install $missing || { tail -5 "$work/apt.log" >&2; die "apt-get could not install$missing"; }
  fi
  if [ ! -e "$jemalloc" ] && command -v apt-get >/dev/null 2>&1; then apt_install libjemalloc2 || say "going on without libjemalloc2, which apt-get could not install"; fi
fi

if [ -n "$tarball" ]; then
  say "taking skerry from $tarball"
  cp -- "$tarball" "$work/skerry.tar.gz" || die "INSTALL_SKERRY_TARBALL '$tarball' cannot be read"
elif [ -n "$url" ]; then
  say "fetching skerry for $arch from $url"
  curl -sf --cacert "$work/ca.pem" "$url/skerry/v1/bundle/skerry-$arch.tar.gz" -o "$work/skerry.tar.gz" || die "the server has no bundle for $arch"
else
  say "taking skerry from $beside"
  "$beside/bin/skerry" bundle "$work/skerry.tar.gz" >/dev/null || die "'$beside' has no program for $arch to install"
fi
# Two places, and a link to the one in use: a machine that loses power here still has a whole program.
slot=a
if [ "$(readlink "$dir/current" 2>/dev/null)" = a ]; then slot=b; fi
rm -rf "${dir:?}/$slot"
mkdir -p "$dir/$slot"
tar -xzf "$work/skerry.tar.gz" -C "$dir/$slot" || die "the program is not a whole archive"
"$dir/$slot/bin/skerry" version >/dev/null || die "the program does not run here"
sync
# Outside both places, so that it can go from one back to the other.
cp "$dir/$slot/script/start.sh" "$dir/start.new"
chmod 755 "$dir/start.new"
mv -fT "$dir/start.new" "$dir/start"
rm -f "$dir/trial" "$dir/trial.starts" "$dir/failed"
ln -sfn "$slot" "$dir/current.new"
mv -fT "$dir/current.new" "$dir/current"
# An earlier installation had one place only.
rm -rf "$dir/bin" "$dir/dist" "$dir/script"
mkdir -p "$bin"
ln -sf "$dir/start" "$bin/skerry"
ln -sf "$dir/current/script/killall.sh" "$bin/skerry-killall.sh"
ln -sf "$dir/current/script/uninstall.sh" "$bin/skerry-uninstall.sh"
# What killall.sh and uninstall.sh go by.
printf 'data=%s\nbin=%s\netc=%s\nsystemd=%s\n' "$data" "$bin" "$etc" "$systemd" >"$dir/installed"

mkdir -p "$etc"
rm -f "$etc/$role.env"
(
  # Holds the token. Quoted so that systemd and sh read the same.
  umask 077
  {
    env | grep -E '^(SKERRY_|CONTAINERD_|HTTPS?_PROXY=|NO_PROXY=|https?_proxy=|no_proxy=)' | grep -vE '^SKERRY_(URL|SERVER|TOKEN|DATA_DIR|RESTARTED_BY)=' || true
    if [ "$role" = agent ]; then
      [ -z "$url" ] || printf 'SKERRY_SERVER=%s\n' "$url"
      [ -z "$token" ] || printf 'SKERRY_TOKEN=%s\n' "$token"
    fi
    printf 'SKERRY_DATA_DIR=%s\n' "$data"
  } | sed -e 's/[\\"$`]/\\&/g' -e 's/=/="/' -e 's/$/"/' >"$etc/$role.env"
)

service=skerry-$role
if [ -d /run/systemd/system ] || [ -n "${INSTALL_SKERRY_SYSTEMD_DIR:-}" ]; then
  mkdir -p "$systemd"
  # Local first: pods run from what the node knows, so nothing here waits for a network or for the server.
  cat >"$systemd/$service.service" <<UNIT
[Unit]
Description=Skerry $role
After=network.target
RequiresMountsFor=$data
StartLimitIntervalSec=0

[Service]
EnvironmentFile=$etc/$role.env
Environment=SKERRY_RESTARTED_BY=systemd
ExecStart=$bin/skerry $role$args
# Pods outlive the agent: only the program itself is stopped.
KillMode=process
Delegate=yes
Restart=always
RestartSec=2
TimeoutStartSec=0
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
UNIT
  mkdir -p "$systemd/multi-user.target.wants"
  ln -sf "../$service.service" "$systemd/multi-user.target.wants/$service.service"
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  if [ "${INSTALL_SKERRY_SKIP_START:-}" = true ] || [ ! -d /run/systemd/system ]; then
    say "installed; systemd unit $service starts at the next boot"
  else
    systemctl restart "$service"
    say "running as systemd unit $service; logs: journalctl -u $service -f"
  fi
elif command -v rc-update >/dev/null 2>&1; then
  # On a machine that is both, pods end while there is still a server to tell.
  behind=""
  [ "$role" = server ] || behind=" skerry-server"
  ends="$bin/skerry agent shutdown || true"
  case " $args " in *" --no-agent "*) ends=: ;; esac
  cat >"/etc/init.d/$service" <<UNIT
#!/sbin/openrc-run
description="Skerry $role"
supervisor=supervise-daemon
command="$bin/skerry"
command_args="$role$args"
pidfile=/run/$service.pid
respawn_delay=2
respawn_max=0
output_log=/var/log/$service.log
error_log=/var/log/$service.log
# Pods outlive the agent: only the program itself is stopped.
rc_cgroup_cleanup=no
rc_ulimit="-n 1048576"
set -a
. $etc/$role.env
SKERRY_RESTARTED_BY=openrc
set +a
depend() {
  need localmount
  after net cgroups$behind
}
# When the machine goes down pods end first, as --shutdown-grace-period says.
stop_pre() {
  case \$RC_RUNLEVEL in
    shutdown | reboot | off) $ends ;;
  esac
}
UNIT
  chmod 755 "/etc/init.d/$service"
  rc-update add "$service" default
  [ "${INSTALL_SKERRY_SKIP_START:-}" = true ] || rc-service "$service" restart
  say "running as openrc service $service; log: /var/log/$service.log"
elif [ "${INSTALL_SKERRY_SKIP_START:-}" = true ]; then
  say "installed; no systemd or openrc here: start it with 'set -a; . $etc/$role.env; $bin/skerry $role$args'"
else
  mkdir -p "$data"
  set -a
  # shellcheck disable=SC1090,SC1091
  . "$etc/$role.env"
  set +a
  # shellcheck disable=SC2086 # flags without blanks, as checked above
  setsid "$bin/skerry" "$role" $args >>"$data/$role.log" 2>&1 </dev/null &
  say "no systemd or openrc here: started in the background (pid $!, log $data/$role.log); it will not start by itself after a boot"
fi
if [ "$role" = server ]; then
  say "done; kubectl --kubeconfig $data/server/admin.kubeconfig get nodes; nodes join with the token in $data/server/node-token"
else
  say "done; on the server: kubectl get nodes"
fi
