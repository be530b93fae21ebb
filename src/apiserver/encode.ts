/** Objects as the caller asked for them: whole, as a Table, or metadata only, from stored texts. Used by the verbs. */
import { fromStored as inShapeOf, isConverted, toStored as inStoredShape } from '../api/convert.ts'
import type { ResourceDef } from '../api/kinds.ts'
import { tableOf } from '../api/table.ts'
import { metaVersion } from './negotiate.ts'
import type { Call } from './core.ts'
import { customText, settledText } from './custom-text.ts'
import { ListText } from './list-text.ts'
import { apiVersionOf } from './resources.ts'
import { fromStored, itemText, toStored, wireText, type Obj } from './stored-text.ts'

/** One stored object, for an answer or a watch event. */
export interface Stored {
  readonly text: string
  readonly revision: number
}

/** A stored object in the shape of `def`, fresh and the caller's to change. */
export function objectOf(def: ResourceDef, stored: Stored): Obj {
  const object = storedShape(def, stored)
  if (stored.revision === 0) delete object.metadata.resourceVersion
  return isConverted(def) ? (inShapeOf(def, object) as Obj) : object
}

/** The text to store for an object in the shape of `def`. */
export function textOf(def: ResourceDef, object: Obj): string {
  return def.custom ? customText(def, object) : toStored(inStoredShape(def, object) as Obj)
}

function storedShape(def: ResourceDef, stored: Stored): Obj {
  return fromStored(settledText(def, stored).text, stored.revision, def.kind, apiVersionOf(def))
}

/** The body for one object in the caller's shape. `first` false leaves a Table's column definitions out. */
export function encodeOne(call: Pick<Call, 'def' | 'accepted' | 'query'>, stored: Stored, now: number, first = true): string {
  const { def, accepted } = call
  switch (accepted.shape) {
    case 'table': {
      const table = tableOf(def, [storedShape(def, stored)], { now, includeObject: includeObject(call.query), version: metaVersion(accepted) })
      table.metadata = { resourceVersion: String(stored.revision) }
      return JSON.stringify(first ? table : { ...table, columnDefinitions: null })
    }
    case 'meta':
      return JSON.stringify({ kind: 'PartialObjectMetadata', apiVersion: metaVersion(accepted), metadata: objectOf(def, stored).metadata })
    default:
      // A dry run of a create has no revision to show.
      if (isConverted(def) || stored.revision === 0) return JSON.stringify(objectOf(def, stored))
      return wireText(settledText(def, stored).text, stored.revision, def.kind, apiVersionOf(def))
  }
}

export interface ListEnd {
  readonly revision: number
  readonly continue?: string
  readonly remaining?: number
}

/** Lists of whole objects over this many characters are written part by part. */
const LARGE_LIST = 256 << 10

/** The body for a list in the caller's shape; whole objects are a join of texts. */
export function encodeList(call: Pick<Call, 'def' | 'accepted' | 'query'>, items: readonly Stored[], end: ListEnd, now: number): string | ListText {
  const { def, accepted } = call
  const metadata = {
    resourceVersion: String(end.revision),
    ...(end.continue === undefined ? {} : { continue: end.continue }),
    ...(end.remaining === undefined ? {} : { remainingItemCount: end.remaining }),
  }
  if (accepted.shape === 'table') {
    const objects = items.map((i) => storedShape(def, i))
    const table = tableOf(def, objects, { now, includeObject: includeObject(call.query), version: metaVersion(accepted) })
    return JSON.stringify({ ...table, metadata })
  }
  if (accepted.shape === 'meta') {
    const partial = items.map((i) => ({ kind: 'PartialObjectMetadata', apiVersion: metaVersion(accepted), metadata: objectOf(def, i).metadata }))
    return JSON.stringify({ kind: 'PartialObjectMetadataList', apiVersion: metaVersion(accepted), metadata, items: partial })
  }
  const apiVersion = apiVersionOf(def)
  const text = isConverted(def) ? (i: Stored) => JSON.stringify(objectOf(def, i)) : def.custom ? (i: Stored) => wireText(settledText(def, i).text, i.revision, def.kind, apiVersion) : (i: Stored) => itemText(i.text, i.revision)
  const head = `{"kind":"${def.listKind}","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"items":[`
  let size = 0
  for (const item of items) size += item.text.length
  if (size > LARGE_LIST) return new ListText(head, items.length, (index) => text(items[index] as Stored))
  return `${head}${items.map(text).join(',')}]}`
}

/** What goes into the rows of a Table. @default Metadata */
function includeObject(query: URLSearchParams): 'None' | 'Metadata' | 'Object' {
  const asked = query.get('includeObject')
  return asked === 'None' || asked === 'Object' ? asked : 'Metadata'
}
