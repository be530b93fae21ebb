/**
 * Threads that work the same from source and from the bundle: the bundle puts each worker beside itself as
 * `worker-<name>.mjs`; a checkout runs the source file. `tools/bundle.ts` lists the workers.
 */
import { setFlagsFromString } from 'node:v8'
import { Worker, type WorkerOptions } from 'node:worker_threads'

// Read when the heap of a thread is made: theirs stay small also where the process was given more room for what is young.
setFlagsFromString('--max-semi-space-size=1')

/**
 * @param name the worker's bundle name, e.g. `store-writer`
 * @param source `new URL('./sqlite-writer.ts', import.meta.url)` of the caller, used outside a bundle
 */
export function startWorker(name: string, source: URL, options: WorkerOptions = {}): Worker {
  const bundled = import.meta.url.endsWith('.mjs')
  return new Worker(bundled ? new URL(`./worker-${name}.mjs`, import.meta.url) : source, { name, ...options })
}
