/**
 * CEL rules of CRDs: a definition whose rules do not compile is refused, and custom objects are held to theirs. The engine
 * is loaded with the first definition that has a rule; servers without such definitions never pay for it.
 */
import { KINDS } from '../../api/kinds.ts'
import type { Schema } from '../../api/schema-types.ts'
import { ApiError, invalid, methodNotAllowed } from '../../api/status.ts'
import type { CompiledRules } from '../cel/rules.ts'
import { isTrue, type Crd } from '../crd-status.ts'
import { keyOf, storageName } from '../resources.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

/** By the schema object that the served resource carries; gone with it. `null`: it has no rules. */
const compiled = new WeakMap<Schema, Promise<CompiledRules> | null>()

export const customRules: AdmissionPlugin = {
  name: 'CustomResourceRules',
  async validate(event) {
    const { call, verb, object, old } = event
    if (verb === 'delete') return
    const { custom } = call.def
    if (custom && verb === 'create') refuseWhileEnding(event)
    if (!custom) return call.def === KINDS.CustomResourceDefinition && call.info.subresource === undefined ? checkDefinition(event) : undefined
    let rules = compiled.get(custom.schema)
    if (rules === undefined) {
      rules = mentionsRules(custom.schema) ? import('../cel/rules.ts').then((m) => m.compileRules(custom.schema).rules) : null
      compiled.set(custom.schema, rules)
    }
    if (rules === null) return
    const found = (await rules).check(object, old)
    if (found.length > 0) throw invalid(call.def, object.metadata.name ?? '', found)
  },
}

/** @throws ApiError 405 when the definition is going and takes its objects along */
function refuseWhileEnding({ core, call: { def } }: AdmissionEvent): void {
  const crd = core.cache.resource(storageName(KINDS.CustomResourceDefinition)).get(keyOf(KINDS.CustomResourceDefinition, undefined, def.custom?.crd))?.parsed(true)
  if (!crd || !isTrue(crd as Crd, 'Terminating')) return
  const { status } = methodNotAllowed(def, 'create')
  throw new ApiError({ ...status, message: 'create not allowed while custom resource definition is terminating' })
}

/** Refuses rules that do not compile; those of the version before stay as they are. */
async function checkDefinition({ call, object, old }: AdmissionEvent): Promise<void> {
  const versions = versionsOf(object)
  if (!versions.some((v) => mentionsRules(v.schema))) return
  const before = new Map(versionsOf(old).map((v) => [v.name, JSON.stringify(v.schema)]))
  const { compileRules } = await import('../cel/rules.ts')
  const errors = versions.flatMap((v, i) => {
    if (!v.schema || before.get(v.name) === JSON.stringify(v.schema)) return []
    const root: Schema = { ...v.schema, properties: { ...v.schema.properties, apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { $ref: 'ObjectMeta' } } }
    return compileRules(root, `spec.versions[${i}].schema.openAPIV3Schema`).errors
  })
  if (errors.length > 0) throw invalid(call.def, object.metadata.name ?? '', errors)
}

function versionsOf(object: object | undefined): { name: string; schema: Schema | undefined }[] {
  const spec = (object as { spec?: { versions?: { name: string; schema?: { openAPIV3Schema?: Schema } }[] } } | undefined)?.spec
  return (spec?.versions ?? []).map((v) => ({ name: v.name, schema: v.schema?.openAPIV3Schema }))
}

function mentionsRules(schema: Schema | undefined): boolean {
  return schema !== undefined && JSON.stringify(schema).includes('"x-kubernetes-validations":')
}
