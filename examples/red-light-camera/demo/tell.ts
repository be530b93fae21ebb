/** How the demo speaks: one line a step with its time, a moving line for the long ones, and facts indented below. */

const started = performance.now()
const color = process.stdout.isTTY ? (code: string, s: string): string => `\u001B[${code}m${s}\u001B[0m` : (_: string, s: string): string => s
const clock = (): string => color('2', `${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s`)

/** Seconds since the demo started. */
export function seconds(): number {
  return (performance.now() - started) / 1000
}

/** A fact below the step. */
export function tell(text: string): void {
  console.log(`          ${text.replaceAll('\n', '\n          ')}`)
}

/** A chapter of the story. */
export function chapter(text: string): void {
  console.log(`\n${color('1', text)}`)
}

/** Runs a step; says when it begins (with a dot every two seconds while it lasts) and how long it took. */
export async function step<T>(text: string, work: () => Promise<T>): Promise<T> {
  process.stdout.write(`${clock()}  ${text} `)
  const start = performance.now()
  const dots = setInterval(() => process.stdout.write('.'), 2000)
  try {
    const result = await work()
    console.log(color('32', `done (${((performance.now() - start) / 1000).toFixed(1)} s)`))
    return result
  } catch (error) {
    console.log(color('31', 'failed'))
    throw error
  } finally {
    clearInterval(dots)
  }
}

/** Waits until `check` gives something; says what it last saw when time is over. */
export async function until<T>(what: string, ms: number, check: () => Promise<T | undefined | false>, everyMs = 250): Promise<T> {
  const end = performance.now() + ms
  let last: unknown
  for (;;) {
    try {
      const value = await check()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = error
    }
    if (performance.now() > end) throw new Error(`${what}: not within ${Math.round(ms / 1000)} s${last instanceof Error ? ` (last: ${last.message.trim().slice(0, 600)})` : ''}`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}

/** @returns after `ms` */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
