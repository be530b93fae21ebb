/**
 * Reads the models of `@kubernetes/client-node` (a devDependency): names and formats from each class's attribute map,
 * which fields are required and what they mean from its `.d.ts`. Knows the two naming habits of that package and undoes them.
 * Used by `tools/gen-schemas.ts` only.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

export interface ModelField {
  /** The JSON name, e.g. `continue`, `$ref`, `x-kubernetes-int-or-string`. */
  readonly name: string
  /** As the attribute map writes it: `Array<V1Container>`, `{ [key: string]: string; }`, `Date`. */
  readonly type: string
  readonly format: string
  readonly required: boolean
  readonly description: string | undefined
}

export interface Model {
  /** Our name, e.g. `Pod`, `V2HorizontalPodAutoscaler`, `EventsEvent`. */
  readonly name: string
  /** The package's name, e.g. `V1Pod`. */
  readonly source: string
  readonly description: string | undefined
  readonly fields: readonly ModelField[]
}

interface ModelClass {
  readonly attributeTypeMap?: readonly { readonly baseName: string; readonly name: string; readonly type: string; readonly format: string }[]
}

/** Where the models of the installed package lie. */
export function modelsDirectory(): string {
  const entry = createRequire(import.meta.url).resolve('@kubernetes/client-node')
  return join(dirname(entry), 'gen', 'models')
}

/** `V1Pod` -> `Pod`, `CoreV1Event` -> `Event`, `EventsV1Event` -> `EventsEvent`, `V2X` stays. Undefined for alpha and beta. */
export function ourName(source: string): string | undefined {
  const m = /^([A-Z][a-z]+)?V(\d+)((?:alpha|beta)\d+)?([A-Z].*)$/.exec(source)
  if (!m) return source
  if (m[3] !== undefined) return undefined
  const group = m[1] === undefined || m[1] === 'Core' ? '' : m[1]
  return group + (m[2] === '1' ? '' : `V${m[2]}`) + m[4]
}

/** Every stable model, in alphabetical order of the package. */
export async function readModels(directory: string): Promise<Model[]> {
  const classes = (await import(pathToFileURL(join(directory, 'all.js')).href)) as Record<string, ModelClass>
  const models: Model[] = []
  for (const [source, cls] of Object.entries(classes)) {
    const name = ourName(source)
    if (!cls.attributeTypeMap || name === undefined) continue
    models.push(parseModel(name, source, cls.attributeTypeMap, await readFile(join(directory, `${source}.d.ts`), 'utf8')))
  }
  return models
}

function parseModel(name: string, source: string, map: NonNullable<ModelClass['attributeTypeMap']>, text: string): Model {
  const bodyAt = text.indexOf('export declare class')
  const head = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*$/.exec(text.slice(0, bodyAt))
  const members = new Map<string, { optional: boolean; description: string | undefined }>()
  for (const m of text.slice(bodyAt).matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?'([^']+)'(\?)?:/g)) {
    members.set(m[2] as string, { optional: m[3] === '?', description: cleanDoc(m[1]) })
  }
  return {
    name,
    source,
    description: cleanDoc(head?.[1]),
    fields: map.map((a) => {
      const member = members.get(a.name)
      return { name: a.baseName, type: a.type, format: a.format, required: member?.optional === false, description: member?.description }
    }),
  }
}

function cleanDoc(doc: string | undefined): string | undefined {
  if (doc === undefined) return undefined
  const text = doc
    .split('\n')
    .map((line) => line.replace(/^\s*\*? ?/, ''))
    .join('\n')
    .trim()
    .replaceAll(/\\+(["'`])/g, '$1')
  return text === '' || text.startsWith('Kubernetes\nNo description') ? undefined : text
}
