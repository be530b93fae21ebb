/** `skerry agent`: this machine as a node; `--check` tells what it lacks. */
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { Scope } from '../../base/scope.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { CONFIG_FILE, type Flag, type Settings } from '../config.ts'
import { KUBELET_FLAGS, kubeletGiven } from '../kubelet-flags.ts'
import type { AgentSettings } from '../wire/agent.ts'
import { collectAtRest } from '../wire/rest.ts'

export const AGENT_FLAGS: readonly Flag[] = [
  DATA_DIR,
  { name: 'server', type: 'string', value: 'URL', help: 'the server to join, like https://10.0.0.1:6443; remembered' },
  { name: 'token', type: 'string', value: 'TOKEN', help: 'join token, or the path of a file that holds it; needed once' },
  { name: 'node-name', type: 'string', value: 'NAME', help: 'name of this node (default: the host name)' },
  { name: 'node-label', type: 'list', value: 'KEY=VALUE', help: 'label of this node (repeat)' },
  { name: 'mqtt-port', type: 'number', help: 'port of the embedded MQTT broker, started when a device needs it', default: 1883 },
  { name: 'local-api-port', type: 'number', help: 'port of the Kubernetes API that this node serves to its own pods', default: 6444 },
  { name: 'pod-manifest-path', type: 'string', value: 'PATH', help: 'directory of static pods, run with or without a server (default: agent/manifests under the data directory)' },
  { name: 'allowed-unsafe-sysctls', type: 'list', value: 'NAME', help: 'kernel setting that pods may have beyond the safe ones, like net.core.somaxconn or kernel.msg* (repeat)' },
  { name: 'device', type: 'list', value: 'RULE', help: 'device nodes for pods to claim, like /dev/video*, or as an extended resource, like example.com/video=/dev/video*; example.com/dongle=2 has none (repeat)' },
  { name: 'private-registry', type: 'string', value: 'PATH', help: "registries.yaml as of K3s: mirrors, logins and TLS of registries (default: agent/registries.yaml under the data directory, else registries.yaml beside the settings file)" },
  { name: 'seal-key-file', type: 'string', value: 'PATH', help: 'file on other media that holds the key to what this node keeps; made the first time (default: the TPM, else beside the data)' },
  { name: 'upgrade-trial', type: 'number', value: 'SECONDS', help: 'time that a version which this node fetched from its server has to show itself linked and Ready, before the one before comes back', default: 300 },
  ...KUBELET_FLAGS,
]

/** The agent's part of parsed settings. @throws AppError for a label that is none */
export function agentSettings(settings: Settings): Omit<AgentSettings, 'token' | 'server'> {
  const nodeLabels: Record<string, string> = {}
  for (const label of (settings['node-label'] ?? []) as readonly string[]) {
    const m = /^([\w./-]{1,253})=([\w.-]{0,63})$/.exec(label)
    if (!m) throw new AppError('invalid', `read settings: --node-label "${label}" is not like key=value`)
    nodeLabels[m[1] as string] = m[2] as string
  }
  const mqttPort = Number(settings['mqtt-port'] ?? 1883)
  if (!Number.isInteger(mqttPort) || mqttPort < 1 || mqttPort > 65_535) throw new AppError('invalid', `read settings: --mqtt-port ${mqttPort} is not between 1 and 65535`)
  const localApiPort = Number(settings['local-api-port'] ?? 6444)
  if (!Number.isInteger(localApiPort) || localApiPort < 1 || localApiPort > 65_535) throw new AppError('invalid', `read settings: --local-api-port ${localApiPort} is not between 1 and 65535`)
  const trialSeconds = Number(settings['upgrade-trial'] ?? 300)
  if (!Number.isInteger(trialSeconds) || trialSeconds < 5 || trialSeconds > 86_400) throw new AppError('invalid', `read settings: --upgrade-trial ${trialSeconds} is not between 5 and 86400 seconds`)
  const unsafeSysctls = ((settings['allowed-unsafe-sysctls'] ?? []) as readonly string[]).flatMap((s) => s.split(','))
  for (const name of unsafeSysctls) {
    if (!/^(net\.|kernel\.(shm|msg|sem)|fs\.mqueue\.)[\w./-]*\*?$/.test(name)) throw new AppError('invalid', `read settings: --allowed-unsafe-sysctls "${name}" is not kept to a pod by the kernel: only net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* are`)
  }
  return {
    dataDir: dataDirOf(settings),
    nodeName: (settings['node-name'] as string | undefined) ?? hostname().toLowerCase(),
    nodeLabels,
    mqttPort,
    localApiPort,
    unsafeSysctls,
    upgradeTrialSeconds: trialSeconds,
    devices: (settings['device'] ?? []) as readonly string[],
    manifestDirectory: settings['pod-manifest-path'] as string | undefined,
    registriesFiles: settings['private-registry'] === undefined ? [join(dataDirOf(settings), 'agent/registries.yaml'), join(dirname(process.env['SKERRY_CONFIG'] ?? CONFIG_FILE), 'registries.yaml')] : [String(settings['private-registry'])],
    sealKeyFile: settings['seal-key-file'] as string | undefined,
    kubelet: kubeletGiven(settings),
    env: process.env,
  }
}

export const agentCommand: Command = {
  name: 'agent',
  help: 'run this machine as a node of a server',
  flags: [...AGENT_FLAGS, { name: 'check', type: 'boolean', help: 'tell what this machine lacks to be a node, and how to mend it', default: false }],
  async run({ settings, signal, print }) {
    if (settings['check'] === true) return check(dataDirOf(settings), print)
    if (process.getuid?.() !== 0) {
      throw new AppError('forbidden', `start agent: user id ${process.getuid?.()} is not root, and containers need root: run it with sudo`)
    }
    const base = agentSettings(settings)
    // Loaded only now, so that other commands stay small and quick.
    const [{ joinedName }, { runAgent }] = await Promise.all([import('../wire/node-identity.ts'), import('../wire/agent.ts')])
    // A machine that has joined keeps its name even if the host name changed meanwhile.
    const known = settings['node-name'] === undefined ? await joinedName(base.dataDir) : undefined
    const token = settings['token'] as string | undefined
    await using quiet = new Scope('rest', signal)
    quiet.run('memory', (s) => collectAtRest(systemClock, s))
    await runAgent(
      {
        ...base,
        ...(known ? { nodeName: known } : {}),
        server: settings['server'] as string | undefined,
        token: token === undefined ? undefined : () => tokenOf(token),
      },
      signal,
    )
    return 0
  },
}

/** More than any time that is set for pods: the agent ends them in its own, ms. */
const SHUTDOWN_MS = 24 * 3_600_000

/** For what takes a machine down without systemd-logind, as the service of openrc. */
export const shutdownCommand: Command = {
  name: 'agent shutdown',
  help: 'end the pods of this node as its machine goes down, within --shutdown-grace-period of its agent, and wait for that',
  flags: [DATA_DIR],
  async run({ settings }) {
    const [{ callAgent }, { pathsOf }] = await Promise.all([import('../wire/node-status.ts'), import('../paths.ts')])
    await callAgent(pathsOf(dataDirOf(settings)), 'POST', '/shutdown', SHUTDOWN_MS)
    return 0
  },
}

/** The token itself, or what is in the file of that name. */
async function tokenOf(text: string): Promise<string> {
  if (!text.startsWith('/')) return text
  try {
    return (await readFile(text, 'utf8')).trim()
  } catch (error) {
    throw new AppError('not-found', `read join token: file "${text}" cannot be read (${(error as NodeJS.ErrnoException).code}): give the path of a file with a token, or the token itself`)
  }
}

async function check(dataDir: string, print: (line: string) => void): Promise<number> {
  const { checkNode } = await import('../../agent/mod.ts')
  const rows = await checkNode({ dataDir })
  for (const row of rows) {
    print(`${row.ok ? 'ok  ' : row.level === 'error' ? 'FAIL' : 'warn'}  ${row.name}: ${row.seen}`)
    if (!row.ok && row.fix !== '') print(`      ${row.fix.replaceAll('\n', '\n      ')}`)
  }
  const failed = rows.filter((r) => !r.ok && r.level === 'error').length
  print(failed === 0 ? 'this machine can be a node' : `${failed} to mend before this machine can be a node`)
  return failed === 0 ? 0 : 1
}
