/**
 * Turns `etcd.proto` into `descriptor.ts`, so that nothing parses .proto text at run time and a bundle needs no extra
 * file. Run by hand after a change: `bin/node src/store/gen/generate.ts`; a test compares.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import protobuf from 'protobufjs'

/** The text of `descriptor.ts` as the .proto file says it. */
export function generate(): string {
  const root = new protobuf.Root()
  protobuf.parse(readFileSync(new URL('etcd.proto', import.meta.url), 'utf8'), root, { keepCase: false })
  const header = `/** Generated from etcd.proto beside it by generate.ts; do not edit. */\nimport type { INamespace } from 'protobufjs'\n\n`
  return `${header}export const descriptor: INamespace = JSON.parse(\n  ${JSON.stringify(JSON.stringify(root.toJSON()))},\n)\n`
}

if (import.meta.main) writeFileSync(new URL('descriptor.ts', import.meta.url), generate())
