/** Table answers (`meta.k8s.io/v1`): what `kubectl get` asks for. Works for built-in kinds and CRDs alike, from their printers. */
import type { Cell, ColumnDef, RowCondition } from './columns/column.ts'
import type { KubeObject, ListMeta } from './meta.ts'
import type { ResourceDef } from './resource.ts'

export interface TableRow {
  readonly cells: Cell[]
  readonly conditions?: readonly RowCondition[]
  /** The whole object, its metadata (PartialObjectMetadata), or absent. */
  readonly object?: KubeObject
}

export type MetaVersion = 'meta.k8s.io/v1' | 'meta.k8s.io/v1beta1'

export interface Table {
  kind: 'Table'
  apiVersion: MetaVersion
  metadata: ListMeta
  columnDefinitions: readonly ColumnDef[]
  rows: TableRow[]
}

export interface TableOptions {
  /** Wall time in ms, for ages. */
  readonly now: number
  /** What each row carries. @default 'Metadata' */
  readonly includeObject?: 'None' | 'Metadata' | 'Object'
  /** @default meta.k8s.io/v1 */
  readonly version?: MetaVersion
}

/** A Table of objects of one resource; its `metadata` is the caller's to fill in. */
export function tableOf(def: ResourceDef, objects: readonly KubeObject[], options: TableOptions): Table {
  const { includeObject: include = 'Metadata', version: apiVersion = 'meta.k8s.io/v1' } = options
  return {
    kind: 'Table',
    apiVersion,
    metadata: {},
    columnDefinitions: def.printer.columns,
    rows: (def.printer.order ? objects.toSorted(def.printer.order) : objects).map((o) => {
      const cells = def.printer.cells(o, options.now)
      const conditions = def.printer.conditions?.(o)
      return { cells, ...(conditions && { conditions }), ...(include !== 'None' && { object: include === 'Object' ? o : partial(o, apiVersion) }) }
    }),
  }
}

function partial(o: KubeObject, apiVersion: MetaVersion): KubeObject {
  return { kind: 'PartialObjectMetadata', apiVersion, ...(o.metadata && { metadata: o.metadata }) }
}
