/** `skerry server`: the control plane and, unless told not to, this machine's node. */
import { hostname } from 'node:os'
import { aborted } from '../../base/abort.ts'
import { systemClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Scope } from '../../base/scope.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { parseStore } from '../store-url.ts'
import { collectAtRest } from '../wire/rest.ts'
import { AGENT_FLAGS, agentSettings } from './agent.ts'
import { duration } from './token.ts'

const log = logger('server')

export const serverCommand: Command = {
  name: 'server',
  help: "start a server: API, controllers, scheduler, collector, and this machine's agent",
  flags: [
    DATA_DIR,
    { name: 'port', type: 'number', help: 'the one port: API, join, links, collector, pages', default: 6443 },
    { name: 'bind-address', type: 'string', value: 'ADDRESS', help: 'listen on this address', default: '0.0.0.0' },
    { name: 'advertise-address', type: 'list', value: 'ADDRESS', help: 'further addresses or names this server is reached by (repeat); nodes are told all of them, the first goes into the kubeconfig' },
    { name: 'no-agent', type: 'boolean', help: 'no pods on this machine', default: false },
    { name: 'write-kubeconfig', type: 'string', value: 'PATH', help: 'also write the admin kubeconfig here' },
    { name: 'store', type: 'string', value: 'URL', help: 'sqlite, or etcd://host:port[,...]?ca=FILE&cert=FILE&key=FILE, which several servers can share', default: 'sqlite' },
    { name: 'cluster-token-file', type: 'string', value: 'PATH', help: "for a further server of one etcd: a copy of the first one's server/cluster-token" },
    { name: 'node-monitor-grace-period', type: 'string', value: 'DURATION', help: 'a node silent for so long is Unknown: 10s on a LAN; shorter costs its idle line more (42 kB an hour at 40s, 168 at 10s); the same on all servers of one store', default: '40s' },
    { name: 'service-account-issuer', type: 'list', value: 'URL', help: 'issuer named in service-account tokens (repeat: further ones were named before and still count)' },
    { name: 'service-account-jwks-uri', type: 'string', value: 'URL', help: 'where the discovery document says the keys of tokens are; <issuer>/openid/v1/jwks by default' },
    { name: 'secrets-encryption', type: 'boolean', help: 'encrypt Secrets in the store, with a key in server/tls/secrets-encryption.json, or in a shared etcd with one sealed by the cluster token', default: false },
    { name: 'encrypt', type: 'list', value: 'RESOURCE', help: 'encrypt these too (repeat): configmaps, deployments.apps, *.apps, *.* for everything but events' },
    { name: 'encryption-provider-config', type: 'string', value: 'FILE', help: "Kubernetes' file of providers: not read here, see --encrypt; there is no key service (KMS)" },
    { name: 'admission-control-config-file', type: 'string', value: 'FILE', help: "Kubernetes' AdmissionConfiguration, of which PodSecurity's part is read: levels for namespaces without labels, exempt users, namespaces and runtime classes" },
    { name: 'audit-policy', type: 'string', value: 'FILE', help: 'record requests as this policy (audit.k8s.io/v1, YAML) says' },
    { name: 'audit-log', type: 'string', value: 'FILE', help: 'where they are recorded; server/audit.log in the data directory by default' },
    { name: 'audit-log-maxsize', type: 'number', value: 'MB', help: 'size at which the audit log is put aside; 100 by default' },
    { name: 'audit-log-maxbackup', type: 'number', value: 'COUNT', help: 'how many of those put aside are kept; 10 by default' },
    { name: 'audit-webhook-config', type: 'string', value: 'FILE', help: 'a kubeconfig that names the web service audit events are sent to; the log is then written only if --audit-log says so' },
    { name: 'cluster-cidr', type: 'string', value: 'CIDR', help: 'addresses of pods', default: '10.42.0.0/16' },
    { name: 'service-cidr', type: 'string', value: 'CIDR', help: 'addresses of Services', default: '10.43.0.0/16' },
    ...AGENT_FLAGS.filter((f) => ['node-name', 'node-label', 'mqtt-port', 'local-api-port', 'private-registry', 'seal-key-file'].includes(f.name)),
  ],
  async run({ settings, signal }) {
    const store = parseStore(String(settings['store']))
    const clusterTokenFile = settings['cluster-token-file'] as string | undefined
    if (clusterTokenFile !== undefined && store.kind === 'sqlite') throw new AppError('invalid', 'start server: --cluster-token-file is for servers that share an etcd; give its --store too')
    const port = Number(settings['port'])
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new AppError('invalid', `start server: --port ${port} is not between 0 and 65535`)
    for (const name of ['cluster-cidr', 'service-cidr']) {
      if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(String(settings[name]))) throw new AppError('invalid', `start server: --${name} "${String(settings[name])}" is not like 10.42.0.0/16`)
    }
    const nodeGraceMs = duration(String(settings['node-monitor-grace-period'])) * 1000
    // Less than 10 s would end links whose line takes 6.5 s to find out that large packets are swallowed.
    if (nodeGraceMs < 10_000 || nodeGraceMs > 3_600_000) throw new AppError('invalid', `start server: --node-monitor-grace-period "${String(settings['node-monitor-grace-period'])}" is not between 10s and 1h`)
    if (settings['no-agent'] !== true && process.getuid?.() !== 0) {
      throw new AppError('forbidden', `start server: user id ${process.getuid?.()} is not root, and this machine's own agent needs root: run it with sudo, or give --no-agent`)
    }
    if (settings['encryption-provider-config'] !== undefined) throw new AppError('unsupported', 'start server: --encryption-provider-config is not read: providers (kms, aescbc, secretbox) cannot be chosen. Name resources with --secrets-encryption and --encrypt; keys are made here (AES-256-GCM) and changed with `skerry store rotate-secrets-key`')
    const encrypted = [...(settings['secrets-encryption'] === true ? ['secrets'] : []), ...(settings['encrypt'] as readonly string[])]
    const [issuer, ...formerIssuers] = settings['service-account-issuer'] as readonly string[]
    const jwksUri = settings['service-account-jwks-uri'] as string | undefined
    for (const [name, url] of [...(settings['service-account-issuer'] as readonly string[]).map((u) => ['service-account-issuer', u] as const), ...(jwksUri === undefined ? [] : [['service-account-jwks-uri', jwksUri] as const])]) {
      if (!url.startsWith('https://') || !URL.canParse(url) || /[?#]/.test(url)) throw new AppError('invalid', `start server: --${name} "${url}" is not an https address without query, as OpenID discovery needs it`)
    }
    const auditPolicy = settings['audit-policy'] as string | undefined
    for (const name of ['audit-log', 'audit-log-maxsize', 'audit-log-maxbackup', 'audit-webhook-config']) {
      if (auditPolicy === undefined && settings[name] !== undefined) throw new AppError('invalid', `start server: --${name} records nothing without --audit-policy`)
      if (typeof settings[name] === 'number' && !(settings[name] >= 1 && settings[name] <= 1_000 && Number.isInteger(settings[name]))) throw new AppError('invalid', `start server: --${name} ${settings[name]} is not a whole number from 1 to 1000`)
    }
    const agent = agentSettings(settings)
    // Loaded only now, so that other commands stay small and quick; a server without pods never loads the agent.
    const { startServer } = await import('../wire/server.ts')
    const server = await startServer({
      dataDir: dataDirOf(settings),
      store: { ...store, encrypted },
      clusterTokenFile,
      nodeGraceMs,
      port,
      bindAddress: String(settings['bind-address']),
      clusterCidr: String(settings['cluster-cidr']),
      serviceCidr: String(settings['service-cidr']),
      advertise: settings['advertise-address'] as readonly string[],
      tokens: { ...(issuer === undefined ? {} : { issuer, formerIssuers }), ...(jwksUri === undefined ? {} : { jwksUri }) },
      audit:
        auditPolicy === undefined
          ? undefined
          : {
              policy: auditPolicy,
              log: settings['audit-log'] as string | undefined,
              maxSizeMb: settings['audit-log-maxsize'] as number | undefined,
              maxBackups: settings['audit-log-maxbackup'] as number | undefined,
              webhook: settings['audit-webhook-config'] as string | undefined,
            },
      admissionConfig: settings['admission-control-config-file'] as string | undefined,
      writeKubeconfig: settings['write-kubeconfig'] as string | undefined,
    })
    await using quiet = new Scope('rest', signal)
    quiet.run('memory', (s) => collectAtRest(systemClock, s))
    // A part that failed ends the process with the reason: whoever starts it starts it again.
    const until = AbortSignal.any([signal, server.failed])
    try {
      if (settings['no-agent'] === true) await aborted(until)
      else {
        const { runAgent } = await import('../wire/agent.ts')
        const node = (settings['node-name'] as string | undefined) ?? hostname().toLowerCase()
        await runAgent({ ...agent, server: server.url, token: () => server.ownToken(node), nodeName: node }, until)
      }
    } finally {
      log.info('stopping')
      await server.close()
    }
  },
}
