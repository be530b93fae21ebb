/** The admission plugins in their order. */
import type { AdmissionPlugin } from './chain.ts'

export function admissionPlugins(): AdmissionPlugin[] {
  return []
}
