/**
 * `bin/skerry` loads jemalloc before a server and an agent where the machine has it (docs/decisions/0019). That is for this process: the
 * programs that it starts, containerd and all below it, get the environment as it was before.
 */

/** Takes out of `env` what `bin/skerry` put there. */
export function keepMallocOurs(env: Record<string, string | undefined>): void {
  const [first = '', ...others] = (env['LD_PRELOAD'] ?? '').split(':')
  if (!/\/libjemalloc\.so\.2$/.test(first)) return
  if (others.length > 0) env['LD_PRELOAD'] = others.join(':')
  else delete env['LD_PRELOAD']
  delete env['MALLOC_CONF']
}
