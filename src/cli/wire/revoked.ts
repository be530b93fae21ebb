/**
 * A node that its server has revoked wipes itself: pods, then everything it keeps, images too. A mark on disk is
 * written first and removed last, so that a wipe cut short goes on at the next start.
 */
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemMounter } from '../../agent/mod.ts'
import { syncDirectory, writeFileAtomic } from '../../base/atomic-file.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Runtime } from '../../cri/mod.ts'

const log = logger('agent.revoked')
/** The lock of this process, and the mark, which goes last. */
const KEPT = new Set(['lock', 'revoked'])

const markOf = (dataDir: string): string => join(dataDir, 'agent/revoked')

/** Whether a wipe has begun and not ended. */
export function isWiping(dataDir: string): boolean {
  return existsSync(markOf(dataDir))
}

/** Notes that the wipe begins. From here on it is not called off. */
export async function beginWipe(dataDir: string, why: string): Promise<void> {
  await writeFileAtomic(markOf(dataDir), `${why}\n`)
}

/** Ends and removes every pod of this machine, then ends its containerd, so that the store can go with its images; what resists is told and left. */
export async function wipePods({ runtime, stop }: { readonly runtime: Pick<Runtime, 'sandboxes' | 'containers'>; stop(): Promise<void> }): Promise<void> {
  for (const c of await runtime.containers.list().catch(() => [])) await runtime.containers.stop(c.id, 0).catch((error: unknown) => log.warn('container not stopped', { id: c.id, why: messageOf(error) }))
  for (const s of await runtime.sandboxes.list().catch(() => [])) {
    try {
      await runtime.sandboxes.stop(s.id)
      await runtime.sandboxes.remove(s.id)
    } catch (error) {
      log.warn('pod not removed', { pod: `${s.namespace}/${s.name}`, why: messageOf(error) })
    }
  }
  await stop().catch((error: unknown) => log.warn('containerd not ended', { why: messageOf(error) }))
}

/** Removes what the node keeps: identity, tokens, caches, records, volumes, logs, images, logins of registries; the identity first, the mark last. */
export async function wipeStore(dirs: { readonly data: string; readonly run: string }): Promise<void> {
  const agent = join(dirs.data, 'agent')
  await rm(join(agent, 'identity.json'), { force: true })
  await syncDirectory(agent)
  for (const pods of [join(agent, 'pods'), join(dirs.run, 'pods')]) {
    await systemMounter.unmountUnder(pods).catch((error: unknown) => log.warn('volumes not unmounted', { why: messageOf(error) }))
    await rm(pods, { recursive: true, force: true })
  }
  for (const name of ['certs.d', 'containerd.toml']) await rm(join(dirs.run, name), { recursive: true, force: true })
  for (const name of await readdir(agent)) if (!KEPT.has(name)) await rm(join(agent, name), { recursive: true, force: true })
  await rm(markOf(dirs.data), { force: true })
  await syncDirectory(agent)
}
