/** containerd's configuration as text; pure. Version 2 of the format is read by containerd 1.6, 1.7 and 2.x. */
import type { InstancePaths } from './paths.ts'

export interface ConfigInput {
  readonly paths: InstancePaths
  readonly sandboxImage: string
  readonly runc: string
  readonly cniBin: string
  /** CAP_SYS_RESOURCE is missing: nobody may lower a process's OOM score below its parent's. */
  readonly restrictOomScore: boolean
  /** Logins of registries, as `loginsToml` writes them. */
  readonly logins: string
}

/** What an edge node does not use; each costs memory or a warning at every start. */
const DISABLED: readonly string[] = [
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.tracing.processor.v1.otlp',
  'io.containerd.internal.v1.tracing',
  'io.containerd.nri.v1.nri',
]

/** The main configuration file. */
export function containerdToml(input: ConfigInput): string {
  const { paths: p } = input
  const s = JSON.stringify
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  return `# Written by skerry at every start; changes are lost.
version = 2
root = ${s(p.root)}
state = ${s(p.state)}
disabled_plugins = [${DISABLED.map((d) => s(d)).join(', ')}]

[grpc]
  address = ${s(p.socket)}

[debug]
  level = "warn"

[plugins."io.containerd.internal.v1.opt"]
  path = ${s(`${p.root}/opt`)}

[plugins."io.containerd.monitor.v1.cgroups"]
  no_prometheus = true

[${cri}]
  sandbox_image = ${s(input.sandboxImage)}
  restrict_oom_score_adj = ${input.restrictOomScore}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true

[${cri}.cni]
  bin_dir = ${s(input.cniBin)}
  conf_dir = ${s(p.cniConf)}
  max_conf_num = 1

[${cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[${cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[${cri}.containerd.runtimes.runc.options]
  BinaryName = ${s(input.runc)}
  Root = ${s(p.runcRoot)}
  SystemdCgroup = false

[${cri}.registry]
  config_path = ${s(p.certs)}
${input.logins}`
}

/** What of a log means that containerd's own records on disk are damaged, rather than that something else is wrong. */
export function looksCorrupt(log: string): boolean {
  // A program fault inside the database code has many messages and one place.
  if (/^(panic|fatal error|unexpected fault|SIGSEGV|SIGBUS|\[signal SIG)/m.test(log) && /go\.etcd\.io\/bbolt/.test(log)) return true
  // A container whose making a full disk cut short, and that was made again: with two of one name it never starts again.
  if (/failed to recover state: failed to reserve (sandbox|container) name .* is reserved for/.test(log)) return true
  return /invalid database|checksum error|version mismatch|file size too small|page \d+ already freed|page \d+: (multiple references|invalid type|unreachable)|invalid freelist page|assertion failed: Page expected|unexpected fault address|invalid page type|meta(data)?\.db.*(corrupt|input\/output error)|database is not .*initialized/i.test(
    log,
  )
}
