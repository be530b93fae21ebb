/** The audit log of a server from its settings: the policy is read, the file opened and the web service named before the first request. */
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { load } from 'js-yaml'
import { AuditLog, AuditWebhook, parsePolicy, type ApiServerOptions } from '../../apiserver/mod.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import type { Scope } from '../../base/scope.ts'

export interface AuditSettings {
  readonly policy: string
  /** Path of the log. undefined: in the data directory, or none when a web service takes the events. */
  readonly log: string | undefined
  /** Size at which it is put aside, MB, and how many such files are kept. undefined: the log's own figures. */
  readonly maxSizeMb?: number | undefined
  readonly maxBackups?: number | undefined
  /** A kubeconfig that names the web service and its credentials. */
  readonly webhook?: string | undefined
}

/** @throws AppError `invalid` for a policy that cannot be read or a log that cannot be written */
export async function openAudit(setting: AuditSettings | undefined, dataDir: string, scope: Scope, clock: Clock): Promise<Pick<ApiServerOptions, 'audit'>> {
  if (!setting) return {}
  const refuse = (what: string) => (error: unknown): never => {
    throw new AppError('invalid', `start server: ${what}: ${messageOf(error)}`)
  }
  const text = await readFile(setting.policy, 'utf8').catch(refuse(`--audit-policy ${setting.policy} cannot be read`))
  const policy = await Promise.resolve(text).then(load).then(parsePolicy).catch(refuse(`--audit-policy ${setting.policy}`))
  const sinks: { write(line: string): void }[] = []
  if (setting.log !== undefined || setting.webhook === undefined) {
    const path = setting.log ?? join(dataDir, 'server/audit.log')
    await open(path, 'a', 0o600).then((file) => file.close()).catch(refuse(`--audit-log ${path} cannot be written`))
    const { maxSizeMb, maxBackups } = setting
    const sink = new AuditLog({ path, ...(maxSizeMb === undefined ? {} : { maxBytes: maxSizeMb << 20 }), ...(maxBackups === undefined ? {} : { backups: maxBackups }) })
    scope.run('audit', (signal) => sink.run(signal))
    sinks.push(sink)
  }
  if (setting.webhook !== undefined) {
    const { auditSender } = await import('./audit-webhook.ts')
    const file = setting.webhook
    const send = await auditSender(file).catch(refuse(`--audit-webhook-config ${file}`))
    const sink = new AuditWebhook({ clock, send })
    scope.run('audit-webhook', (signal) => sink.run(signal))
    sinks.push(sink)
  }
  return { audit: { policy, sink: { write: (line) => sinks.forEach((sink) => sink.write(line)) } } }
}
