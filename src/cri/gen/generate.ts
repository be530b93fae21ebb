/**
 * Turns the `.proto` facts beside it into `descriptor.ts`, so that nothing parses .proto text at run time and a bundle
 * needs no extra file. Run by hand after changing a .proto: `bin/node src/cri/gen/generate.ts`; a test compares.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import protobuf from 'protobufjs'

/** The text of `descriptor.ts` as the .proto files say it. */
export function generate(): string {
  const root = new protobuf.Root()
  for (const name of ['runtime.proto', 'containerd.proto']) {
    protobuf.parse(readFileSync(new URL(name, import.meta.url), 'utf8'), root, { keepCase: false })
  }
  const header = `/** Generated from the .proto files beside it by generate.ts; do not edit. */\nimport type { INamespace } from 'protobufjs'\n\n`
  return `${header}export const descriptor: INamespace = JSON.parse(\n  ${JSON.stringify(JSON.stringify(root.toJSON()))},\n)\n`
}

if (import.meta.main) writeFileSync(new URL('descriptor.ts', import.meta.url), generate())
