/** The audit log of a server from its settings: the policy is read, the file opened before the first request. */
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { load } from 'js-yaml'
import { AuditLog, parsePolicy, type ApiServerOptions } from '../../apiserver/mod.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import type { Scope } from '../../base/scope.ts'

/** @throws AppError `invalid` for a policy that cannot be read or a log that cannot be written */
export async function openAudit(setting: { readonly policy: string; readonly log: string | undefined } | undefined, dataDir: string, scope: Scope): Promise<Pick<ApiServerOptions, 'audit'>> {
  if (!setting) return {}
  const path = setting.log ?? join(dataDir, 'server/audit.log')
  const refuse = (what: string) => (error: unknown): never => {
    throw new AppError('invalid', `start server: ${what}: ${messageOf(error)}`)
  }
  const text = await readFile(setting.policy, 'utf8').catch(refuse(`--audit-policy ${setting.policy} cannot be read`))
  const policy = await Promise.resolve(text).then(load).then(parsePolicy).catch(refuse(`--audit-policy ${setting.policy}`))
  await open(path, 'a', 0o600).then((file) => file.close()).catch(refuse(`--audit-log ${path} cannot be written`))
  const sink = new AuditLog({ path })
  scope.run('audit', (signal) => sink.run(signal))
  return { audit: { policy, sink } }
}
