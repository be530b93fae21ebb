#!/bin/sh
# Joins this machine to a Skerry server as a node:
#   curl -sfk https://SERVER:6443/install.sh | SKERRY_URL=https://SERVER:6443 SKERRY_TOKEN=… sh -
# The token's CA hash is checked before anything else is fetched or sent. Variables: SKERRY_URL, SKERRY_TOKEN (both needed),
# SKERRY_NODE_NAME, SKERRY_DATA_DIR (/var/lib/skerry), INSTALL_SKERRY_DIR (/usr/local/lib/skerry), INSTALL_SKERRY_BIN_DIR
# (/usr/local/bin), INSTALL_SKERRY_ETC_DIR (/etc/skerry), INSTALL_SKERRY_SYSTEMD_DIR (/etc/systemd/system; giving it writes the
# unit also where systemd does not run, as in the image of a disk), INSTALL_SKERRY_SKIP_START=true,
# INSTALL_SKERRY_SKIP_ENGINES=true. SKERRY_* settings are kept for the agent.
set -eu
say() { printf '[skerry] %s\n' "$*"; }
die() { printf '[skerry] %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || die "user id $(id -u) is not root: run with sudo"
url=${SKERRY_URL:-${SKERRY_SERVER:-}}
token=${SKERRY_TOKEN:-}
[ -n "$url" ] || die "SKERRY_URL is empty: set it to the server's address, like https://10.0.0.1:6443"
[ -n "$token" ] || die "SKERRY_TOKEN is empty: make one on the server with 'skerry token create'"
case "$url" in https://*) ;; *) die "SKERRY_URL '$url' does not begin with https://" ;; esac
url=${url%/}
case "$(uname -m)" in
  x86_64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) die "machine '$(uname -m)' cannot be a node (x86_64 or aarch64 can); it can be a thing that speaks HTTP or MQTT to a node" ;;
esac
for tool in curl tar openssl sha256sum; do command -v "$tool" >/dev/null 2>&1 || die "'$tool' is missing: install it and run this again"; done

dir=${INSTALL_SKERRY_DIR:-/usr/local/lib/skerry}
bin=${INSTALL_SKERRY_BIN_DIR:-/usr/local/bin}
etc=${INSTALL_SKERRY_ETC_DIR:-/etc/skerry}
systemd=${INSTALL_SKERRY_SYSTEMD_DIR:-/etc/systemd/system}
data=$(realpath -ms -- "${SKERRY_DATA_DIR:-/var/lib/skerry}")
for path in "$dir" "$bin" "$etc" "$systemd"; do
  case $path in /*) ;; *) die "INSTALL_SKERRY_* '$path' is not an absolute path" ;; esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

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

if [ "${INSTALL_SKERRY_SKIP_ENGINES:-}" != true ]; then
  missing=""
  command -v containerd >/dev/null 2>&1 || missing="$missing containerd"
  command -v runc >/dev/null 2>&1 || missing="$missing runc"
  [ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
  command -v nft >/dev/null 2>&1 || [ -e /usr/sbin/nft ] || missing="$missing nftables"
  if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || die "missing:$missing; install them with this system's package manager and run this again"
    say "installing$missing"
    # shellcheck disable=SC2086
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing) >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log" >&2; die "apt-get could not install$missing"; }
  fi
fi

say "fetching skerry for $arch from $url"
curl -sf --cacert "$work/ca.pem" "$url/skerry/v1/bundle/skerry-$arch.tar.gz" -o "$work/skerry.tar.gz" || die "the server has no bundle for $arch"
mkdir -p "$dir.new"
tar -xzf "$work/skerry.tar.gz" -C "$dir.new"
"$dir.new/bin/skerry" version >/dev/null || die "the fetched program does not run here"
rm -rf "$dir.old"
[ ! -d "$dir" ] || mv "$dir" "$dir.old"
mv "$dir.new" "$dir"
rm -rf "$dir.old"
mkdir -p "$bin"
ln -sf "$dir/bin/skerry" "$bin/skerry"
ln -sf "$dir/script/killall.sh" "$bin/skerry-killall.sh"
ln -sf "$dir/script/uninstall.sh" "$bin/skerry-uninstall.sh"
# What killall.sh and uninstall.sh go by.
printf 'data=%s\nbin=%s\netc=%s\nsystemd=%s\n' "$data" "$bin" "$etc" "$systemd" >"$dir/installed"

mkdir -p "$etc"
rm -f "$etc/agent.env"
(
  # Holds the token. Quoted so that systemd and sh read the same.
  umask 077
  {
    env | grep -E '^(SKERRY_|CONTAINERD_|HTTPS?_PROXY=|NO_PROXY=|https?_proxy=|no_proxy=)' | grep -vE '^SKERRY_(URL|SERVER|TOKEN|DATA_DIR)=' || true
    printf 'SKERRY_SERVER=%s\nSKERRY_TOKEN=%s\nSKERRY_DATA_DIR=%s\n' "$url" "$token" "$data"
  } | sed -e 's/[\\"$`]/\\&/g' -e 's/=/="/' -e 's/$/"/' >"$etc/agent.env"
)

if [ -d /run/systemd/system ] || [ -n "${INSTALL_SKERRY_SYSTEMD_DIR:-}" ]; then
  mkdir -p "$systemd"
  # Local first: pods run from what the node knows, so nothing here waits for a network or for the server.
  cat >"$systemd/skerry-agent.service" <<UNIT
[Unit]
Description=Skerry agent
After=network.target
RequiresMountsFor=$data
StartLimitIntervalSec=0

[Service]
EnvironmentFile=$etc/agent.env
ExecStart=$bin/skerry agent
# Pods outlive the agent: only the agent itself is stopped.
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
  ln -sf ../skerry-agent.service "$systemd/multi-user.target.wants/skerry-agent.service"
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  if [ "${INSTALL_SKERRY_SKIP_START:-}" = true ] || [ ! -d /run/systemd/system ]; then
    say "installed; systemd unit skerry-agent starts at the next boot"
  else
    systemctl restart skerry-agent
    say "running as systemd unit skerry-agent; logs: journalctl -u skerry-agent -f"
  fi
elif command -v rc-update >/dev/null 2>&1; then
  cat >/etc/init.d/skerry-agent <<UNIT
#!/sbin/openrc-run
description="Skerry agent"
supervisor=supervise-daemon
command="$bin/skerry"
command_args="agent"
pidfile=/run/skerry-agent.pid
respawn_delay=2
respawn_max=0
output_log=/var/log/skerry-agent.log
error_log=/var/log/skerry-agent.log
set -a
. $etc/agent.env
set +a
depend() {
  need localmount
  after net cgroups
}
UNIT
  chmod 755 /etc/init.d/skerry-agent
  rc-update add skerry-agent default
  [ "${INSTALL_SKERRY_SKIP_START:-}" = true ] || rc-service skerry-agent restart
  say "running as openrc service skerry-agent; log: /var/log/skerry-agent.log"
elif [ "${INSTALL_SKERRY_SKIP_START:-}" = true ]; then
  say "installed; no systemd or openrc here: start it with 'set -a; . $etc/agent.env; $bin/skerry agent'"
else
  mkdir -p "$data"
  set -a
  # shellcheck disable=SC1090,SC1091
  . "$etc/agent.env"
  set +a
  setsid "$bin/skerry" agent >>"$data/agent.log" 2>&1 </dev/null &
  say "no systemd or openrc here: started in the background (pid $!, log $data/agent.log); it will not start by itself after a boot"
fi
say "done; on the server: kubectl get nodes"
