/** Validation of CustomResourceDefinitions: names, versions, and the rules that make a schema structural. */
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '../gen/types.ts'
import { parseJsonPath } from '../jsonpath.ts'
import { dns1035Errors, dnsSubdomainErrors } from '../names.ts'
import { pattern } from '../schema-rules.ts'
import type { Schema } from '../schema-types.ts'
import { fieldForbidden, fieldInvalid, fieldNotSupported, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { immutable } from './meta.ts'

const TYPES = ['array', 'boolean', 'integer', 'number', 'object', 'string']
const COLUMN_TYPES = ['boolean', 'date', 'integer', 'number', 'string']
const MAX_DEPTH = 100

/** CustomResourceDefinition: names, versions, schemas, columns. */
export function crdErrors(crd: CustomResourceDefinition): FieldError[] {
  const { spec } = crd
  if (!spec) return [fieldRequired('spec.group')]
  const errors: FieldError[] = []
  const { names, versions } = spec
  if (!spec.group) errors.push(fieldRequired('spec.group'))
  else if (!spec.group.includes('.')) errors.push(fieldInvalid('spec.group', spec.group, 'should be a domain with at least one dot'))
  else errors.push(...dnsSubdomainErrors(spec.group).map((e) => fieldInvalid('spec.group', spec.group, e)))
  const expected = `${names?.plural ?? ''}.${spec.group ?? ''}`
  if (crd.metadata?.name !== expected) errors.push(fieldInvalid('metadata.name', crd.metadata?.name, `must be spec.names.plural+"."+spec.group`))
  if (!spec.scope) errors.push(fieldRequired('spec.scope'))
  else if (!['Cluster', 'Namespaced'].includes(spec.scope)) errors.push(fieldNotSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced']))
  for (const [key, value] of [['plural', names?.plural], ['singular', names?.singular], ['kind', names?.kind], ['listKind', names?.listKind]] as const) {
    if (!value) {
      if (key === 'plural' || key === 'kind') errors.push(fieldRequired(`spec.names.${key}`))
    } else errors.push(...dns1035Errors(value.toLowerCase()).map((e) => fieldInvalid(`spec.names.${key}`, value, e)))
  }
  if (names?.kind && names.kind === names.listKind) errors.push(fieldInvalid('spec.names.listKind', names.listKind, 'kind and listKind may not be the same'))
  if (!versions?.length) errors.push(fieldRequired('spec.versions', 'must have at least one version'))
  const stored = (versions ?? []).filter((v) => v.storage).length
  if (versions?.length && stored !== 1) errors.push(fieldInvalid('spec.versions', versions.map((v) => v.name), 'must have exactly one version marked as storage version'))
  const seen = new Set<string>()
  for (const [i, v] of (versions ?? []).entries()) {
    const path = `spec.versions[${i}]`
    errors.push(...dns1035Errors(v.name ?? '').map((e) => fieldInvalid(`${path}.name`, v.name, e)))
    if (seen.has(v.name)) errors.push(fieldInvalid(`${path}.name`, v.name, 'must contain unique version names'))
    seen.add(v.name)
    errors.push(...versionErrors(v, path))
  }
  const strategy = spec.conversion?.strategy
  if (strategy !== undefined && !['None', 'Webhook'].includes(strategy)) errors.push(fieldNotSupported('spec.conversion.strategy', strategy, ['None', 'Webhook']))
  if (spec.preserveUnknownFields) errors.push(fieldInvalid('spec.preserveUnknownFields', true, 'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead'))
  return errors
}

function versionErrors(v: CustomResourceDefinitionVersion, path: string): FieldError[] {
  const schema = v.schema?.openAPIV3Schema as Schema | undefined
  if (!schema) return [fieldRequired(`${path}.schema.openAPIV3Schema`, 'schemas are required')]
  const errors = structuralErrors(schema, `${path}.schema.openAPIV3Schema`)
  if (schema.type !== 'object') {
    errors.push(schema.type ? fieldInvalid(`${path}.schema.openAPIV3Schema.type`, schema.type, 'must be object at the root') : fieldRequired(`${path}.schema.openAPIV3Schema.type`, 'must not be empty at the root'))
  }
  for (const [i, c] of (v.additionalPrinterColumns ?? []).entries()) {
    const at = `${path}.additionalPrinterColumns[${i}]`
    if (!c.name) errors.push(fieldRequired(`${at}.name`))
    if (!COLUMN_TYPES.includes(c.type)) errors.push(fieldInvalid(`${at}.type`, c.type, `must be one of ${COLUMN_TYPES.join(',')}`))
    errors.push(...pathErrors(c.jsonPath, `${at}.jsonPath`))
  }
  for (const [i, f] of (v.selectableFields ?? []).entries()) errors.push(...pathErrors(f.jsonPath, `${path}.selectableFields[${i}].jsonPath`))
  const scale = v.subresources?.scale
  for (const key of ['specReplicasPath', 'statusReplicasPath'] as const) {
    if (!scale) break
    const root = key === 'specReplicasPath' ? '.spec.' : '.status.'
    if (!scale[key]) errors.push(fieldRequired(`${path}.subresources.scale.${key}`))
    else if (!scale[key].startsWith(root)) errors.push(fieldInvalid(`${path}.subresources.scale.${key}`, scale[key], `should be a json path under ${root.slice(0, -1)}`))
  }
  return errors
}

function pathErrors(text: string | undefined, at: string): FieldError[] {
  if (!text) return [fieldRequired(at)]
  try {
    parseJsonPath(text)
    return text.startsWith('.') ? [] : [fieldInvalid(at, text, 'is an invalid path: must start with "."')]
  } catch (error) {
    return [fieldInvalid(at, text, `is an invalid path: ${(error as Error).message}`)]
  }
}

/** The rules of a structural schema: a type everywhere, nothing but value rules inside junctors. */
export function structuralErrors(schema: Schema, path: string, depth = 0, root = true): FieldError[] {
  const errors: FieldError[] = []
  if (depth > MAX_DEPTH) return [fieldForbidden(path, `schemas may not be nested deeper than ${MAX_DEPTH} levels`)]
  const open = schema['x-kubernetes-preserve-unknown-fields'] || schema['x-kubernetes-int-or-string']
  if (schema.$ref !== undefined) errors.push(fieldForbidden(`${path}.$ref`, '$ref is not supported'))
  if (!schema.type && !open && !root) errors.push(fieldRequired(`${path}.type`, 'must not be empty for specified object fields'))
  if (schema.type && !TYPES.includes(schema.type)) errors.push(fieldNotSupported(`${path}.type`, schema.type, TYPES))
  if (schema.type === 'array' && !schema.items) errors.push(fieldRequired(`${path}.items`, 'must be specified'))
  if (schema.properties && schema.additionalProperties !== undefined && schema.additionalProperties !== false) {
    errors.push(fieldForbidden(`${path}.additionalProperties`, 'additionalProperties and properties are mutual exclusive'))
  }
  if (schema.additionalProperties === false) errors.push(fieldForbidden(`${path}.additionalProperties`, 'additionalProperties cannot be set to false'))
  if (schema.uniqueItems) errors.push(fieldForbidden(`${path}.uniqueItems`, 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic'))
  if (schema.pattern !== undefined && pattern(schema.pattern) === undefined) {
    errors.push(fieldInvalid(`${path}.pattern`, schema.pattern, 'must be a valid regular expression'))
  }
  errors.push(...listErrors(schema, path))
  for (const [name, s] of Object.entries(schema.properties ?? {})) {
    if (root && name === 'metadata') continue
    errors.push(...structuralErrors(s, `${path}.properties[${name}]`, depth + 1, false))
  }
  if (schema.items) errors.push(...structuralErrors(schema.items, `${path}.items`, depth + 1, false))
  if (typeof schema.additionalProperties === 'object') errors.push(...structuralErrors(schema.additionalProperties, `${path}.additionalProperties`, depth + 1, false))
  for (const key of ['allOf', 'anyOf', 'oneOf'] as const) {
    for (const [i, s] of (schema[key] ?? []).entries()) errors.push(...junctorErrors(s, `${path}.${key}[${i}]`, schema))
  }
  if (schema.not) errors.push(...junctorErrors(schema.not, `${path}.not`, schema))
  return errors
}

function listErrors(schema: Schema, path: string): FieldError[] {
  const type = schema['x-kubernetes-list-type']
  const keys = schema['x-kubernetes-list-map-keys']
  if (type === undefined) return keys ? [fieldForbidden(`${path}.x-kubernetes-list-map-keys`, 'must not be set without x-kubernetes-list-type: map')] : []
  if (schema.type !== 'array') return [fieldInvalid(`${path}.type`, schema.type ?? '', 'must be array if x-kubernetes-list-type is specified')]
  if (type !== 'map') return ['atomic', 'set'].includes(type) ? [] : [fieldNotSupported(`${path}.x-kubernetes-list-type`, type, ['atomic', 'map', 'set'])]
  if (!keys?.length) return [fieldRequired(`${path}.x-kubernetes-list-map-keys`, 'must not be empty if x-kubernetes-list-type is map')]
  return keys.flatMap((k) => {
    const property = schema.items?.properties?.[k]
    if (!property) return [fieldInvalid(`${path}.x-kubernetes-list-map-keys`, k, 'entries must all be names of item properties')]
    const settled = schema.items?.required?.includes(k) || property.default !== undefined
    return settled ? [] : [fieldRequired(`${path}.items.properties[${k}].default`, 'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property')]
  })
}

/** Inside a junctor only values are judged: no types of its own, no defaults, and no property the structure does not have. */
function junctorErrors(schema: Schema, path: string, structure: Schema): FieldError[] {
  const errors: FieldError[] = []
  for (const key of ['description', 'default', 'title', 'additionalProperties', 'nullable'] as const) {
    if (schema[key] !== undefined) errors.push(fieldForbidden(`${path}.${key}`, 'must be undefined to be structural'))
  }
  const intOrString = structure['x-kubernetes-int-or-string'] === true
  if (schema.type !== undefined && !intOrString) errors.push(fieldForbidden(`${path}.type`, 'must be empty to be structural'))
  for (const [name, s] of Object.entries(schema.properties ?? {})) {
    const own = structure.properties?.[name]
    if (!own) errors.push(fieldRequired(`${path.replace(/\.(allOf|anyOf|oneOf|not).*$/, '')}.properties[${name}]`, `because it is defined in ${path}.properties[${name}]`))
    else errors.push(...junctorErrors(s, `${path}.properties[${name}]`, own))
  }
  return errors
}

/** What a CRD keeps: group and plural always, scope and kind once established, versions that hold objects. */
export function crdUpdateErrors(next: CustomResourceDefinition, old: CustomResourceDefinition): FieldError[] {
  const errors = [...immutable('spec.group', next.spec?.group, old.spec?.group), ...immutable('spec.names.plural', next.spec?.names?.plural, old.spec?.names?.plural)]
  const established = old.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True')
  if (established) {
    errors.push(...immutable('spec.scope', next.spec?.scope, old.spec?.scope), ...immutable('spec.names.kind', next.spec?.names?.kind, old.spec?.names?.kind))
  }
  for (const [i, stored] of (next.status?.storedVersions ?? []).entries()) {
    if (!next.spec?.versions?.some((v) => v.name === stored)) {
      errors.push(fieldInvalid(`status.storedVersions[${i}]`, stored, 'missing from spec.versions; it may still hold objects, so it must stay until they are migrated'))
    }
  }
  return errors
}
