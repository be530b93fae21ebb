/** CRDs live: from stored definitions to served resources. */
import type { ResourceDef } from '../api/kinds.ts'
import type { Core } from './core.ts'
import type { ScalePaths } from './scale.ts'

export function scalePaths(_core: Core, _def: ResourceDef): ScalePaths | undefined {
  return undefined
}
