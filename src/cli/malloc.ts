/**
 * `bin/skerry` loads jemalloc before a server and an agent where the machine has it (docs/decisions/0019). That is for this process: the
 * programs that it starts, containerd and all below it, get the environment as it was before.
 */

/** Takes out of `env` what `bin/skerry` put there. */
export function keepMallocOurs(env: Record<string, string | undefined>): void {
  if (!/^[^:]*\/libjemalloc\.so\.2$/.test(env['LD_PRELOAD'] ?? '')) return
  delete env['LD_PRELOAD']
  delete env['MALLOC_CONF']
}
