/** Table answers (`meta.k8s.io/v1`) from a kind's printer; pure. */
import type { ColumnDef, Cell } from '../api/columns/column.ts'
import type { ResourceDef } from '../api/kinds.ts'
import type { Obj } from './stored-text.ts'

export interface Table {
  kind: 'Table'
  apiVersion: 'meta.k8s.io/v1'
  metadata: object
  columnDefinitions: readonly ColumnDef[] | null
  rows: { cells: Cell[]; object?: object | null }[]
}

export function tableOf(def: ResourceDef, objects: readonly Obj[], options: { now: number; includeObject: 'None' | 'Metadata' | 'Object' }): Table {
  const rows = objects.map((object) => {
    const cells = def.printer.cells(object, options.now)
    if (options.includeObject === 'None') return { cells, object: null }
    const row = options.includeObject === 'Object' ? object : { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata }
    return { cells, object: row }
  })
  return { kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata: {}, columnDefinitions: def.printer.columns, rows }
}
