/**
 * Validation of CustomResourceDefinitions: names, versions, conversion, subresources, columns, what may change later. The rules of
 * the schemas themselves stand in `crd-schema.ts`. Paths and texts are Kubernetes' own, its internal field names included.
 */
import type { CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionVersion } from '../gen/types.ts'
import { dns1035Errors, dnsSubdomainErrors } from '../names.ts'
import { fieldPathSchema } from '../schema-paths.ts'
import type { Schema } from '../schema-types.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldNotSupported, fieldRequired, fieldTooMany } from '../status.ts'
import type { FieldError } from '../status.ts'
import { schemaErrors } from './crd-schema.ts'
import { immutable } from './meta.ts'
import { clientConfigErrors } from './webhook-client.ts'

const COLUMN_TYPES = ['boolean', 'date', 'integer', 'number', 'string']
const COLUMN_FORMATS = ['byte', 'date', 'date-time', 'double', 'float', 'int32', 'int64', 'password']
const REVIEW_VERSIONS = ['v1', 'v1beta1']
const MAX_SELECTABLE = 8
/** Marks definitions of Kubernetes' own groups whose API was reviewed. */
export const APPROVED = 'api-approved.kubernetes.io'

/** CustomResourceDefinition: everything that holds on create and update alike. */
export function crdErrors(crd: CustomResourceDefinition): FieldError[] {
  const { spec, status } = crd
  const required = `${spec?.names?.plural ?? ''}.${spec?.group ?? ''}`
  const errors: FieldError[] = []
  if (crd.metadata?.name !== required) errors.push(fieldInvalid('metadata.name', crd.metadata?.name, 'must be spec.names.plural+"."+spec.group'))
  if (!spec) return [...errors, fieldRequired('spec.group')]
  errors.push(...specErrors(spec))
  if (status?.storedVersions) errors.push(...storedErrors(status.storedVersions, spec.versions ?? []))
  if (spec.preserveUnknownFields) errors.push(fieldInvalid('spec.preserveUnknownFields', true, 'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead'))
  return errors
}

/** On create alone: the annotation that Kubernetes' own groups ask for. */
export function crdCreateErrors(crd: CustomResourceDefinition): FieldError[] {
  return approvalErrors(crd, undefined)
}

function specErrors(spec: CustomResourceDefinition['spec']): FieldError[] {
  const errors: FieldError[] = []
  const { group, names, versions = [] } = spec
  const groupTexts = group ? dnsSubdomainErrors(group) : []
  if (!group) errors.push(fieldRequired('spec.group'))
  else if (groupTexts.length > 0) errors.push(fieldInvalid('spec.group', group, groupTexts.join(',')))
  else if (!group.includes('.')) errors.push(fieldInvalid('spec.group', group, 'should be a domain with at least one dot'))
  if (!spec.scope) errors.push(fieldRequired('spec.scope'))
  else if (!['Cluster', 'Namespaced'].includes(spec.scope)) errors.push(fieldNotSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced']))
  for (const [i, v] of versions.entries()) if (!v.schema?.openAPIV3Schema) errors.push(fieldRequired(`spec.versions[${i}].schema.openAPIV3Schema`, 'schemas are required'))
  for (const [i, v] of versions.entries()) {
    const texts = dns1035Errors(v.name ?? '')
    if (texts.length > 0) errors.push(fieldInvalid(`spec.versions[${i}].name`, v.name ?? '', texts.join(',')))
    errors.push(...versionErrors(v, `spec.versions[${i}]`))
  }
  if (new Set(versions.map((v) => v.name)).size < versions.length) errors.push(fieldInvalid('spec.versions', versions, 'must contain unique version names'))
  if (versions.filter((v) => v.storage).length !== 1) errors.push(fieldInvalid('spec.versions', versions, 'must have exactly one version marked as storage version'))
  for (const key of ['plural', 'singular', 'kind', 'listKind'] as const) if (!names?.[key]) errors.push(fieldRequired(`spec.names.${key}`))
  if (names) errors.push(...nameErrors(names, 'spec.names'))
  errors.push(...conversionErrors(spec.conversion))
  return errors
}

function nameErrors(names: CustomResourceDefinitionNames, path: string): FieldError[] {
  const errors: FieldError[] = []
  const check = (key: string, value: string | undefined, mixed = false): void => {
    const texts = value ? dns1035Errors(mixed ? value.toLowerCase() : value) : []
    if (texts.length > 0) errors.push(fieldInvalid(`${path}.${key}`, value, (mixed ? 'may have mixed case, but should otherwise match: ' : '') + texts.join(',')))
  }
  check('plural', names.plural)
  check('singular', names.singular)
  check('kind', names.kind, true)
  check('listKind', names.listKind, true)
  for (const [i, s] of (names.shortNames ?? []).entries()) check(`shortNames[${i}]`, s || ' ')
  if (names.kind && names.kind === names.listKind) errors.push(fieldInvalid(`${path}.listKind`, names.listKind, 'kind and listKind may not be the same'))
  for (const [i, c] of (names.categories ?? []).entries()) check(`categories[${i}]`, c || ' ')
  return errors
}

function versionErrors(v: CustomResourceDefinitionVersion, path: string): FieldError[] {
  const errors = deprecationTexts(v).map((text) => fieldInvalid(`${path}.deprecationWarning`, v.deprecationWarning, text))
  const schema = v.schema?.openAPIV3Schema as Schema | undefined
  if (schema) errors.push(...schemaErrors(schema, `${path}.schema.openAPIV3Schema`, v.subresources?.status !== undefined))
  errors.push(...scaleErrors(v.subresources?.scale, `${path}.subresources.scale`))
  for (const [i, c] of (v.additionalPrinterColumns ?? []).entries()) {
    const at = `${path}.additionalPrinterColumns[${i}]`
    if (!c.name) errors.push(fieldRequired(`${at}.name`))
    if (!c.type) errors.push(fieldRequired(`${at}.type`, `must be one of ${COLUMN_TYPES.join(',')}`))
    else if (!COLUMN_TYPES.includes(c.type)) errors.push(fieldInvalid(`${at}.type`, c.type, `must be one of ${COLUMN_TYPES.join(',')}`))
    if (c.format && !COLUMN_FORMATS.includes(c.format)) errors.push(fieldInvalid(`${at}.format`, c.format, `must be one of ${COLUMN_FORMATS.join(',')}`))
    if (!c.jsonPath) errors.push(fieldRequired(`${at}.JSONPath`))
    else if (!c.jsonPath.startsWith('.')) errors.push(fieldInvalid(`${at}.JSONPath`, c.jsonPath, 'must be a simple json path starting with .'))
  }
  if (v.selectableFields?.length && schema) errors.push(...selectableErrors(v.selectableFields, schema, `${path}.selectableFields`))
  return errors
}

function deprecationTexts({ deprecated, deprecationWarning: text }: CustomResourceDefinitionVersion): string[] {
  if (text === undefined) return []
  if (!deprecated) return ['can only be set for deprecated versions']
  const errors: string[] = []
  if (new TextEncoder().encode(text).length > 256) errors.push('must be <= 256 characters long')
  if (text === '') errors.push('must not be an empty string')
  const at = /[^\P{C}]|[^\S ]/u.exec(text)?.index
  if (at !== undefined) errors.push(`must only contain printable UTF-8 characters; non-printable character found at index ${new TextEncoder().encode(text.slice(0, at)).length}`)
  return errors
}

type Scale = NonNullable<NonNullable<CustomResourceDefinitionVersion['subresources']>['scale']>

function scaleErrors(scale: Scale | undefined, path: string): FieldError[] {
  if (!scale) return []
  const errors: FieldError[] = []
  const check = (key: keyof Scale, roots: readonly string[], text: string, needed: boolean): void => {
    const value = scale[key]
    if (!value) {
      if (needed) errors.push(fieldRequired(`${path}.${key}`))
    } else if (!value.startsWith('.')) errors.push(fieldInvalid(`${path}.${key}`, value, 'must be a simple json path starting with .'))
    else if (!roots.some((r) => value.startsWith(r))) errors.push(fieldInvalid(`${path}.${key}`, value, text))
  }
  check('specReplicasPath', ['.spec.'], 'should be a json path under .spec', true)
  check('statusReplicasPath', ['.status.'], 'should be a json path under .status', true)
  check('labelSelectorPath', ['.spec.', '.status.'], 'should be a json path under either .spec or .status', false)
  return errors
}

function selectableErrors(fields: readonly { jsonPath?: string }[], schema: Schema, path: string): FieldError[] {
  const errors: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, { jsonPath }] of fields.entries()) {
    const at = `${path}[${i}].jsonPath`
    if (!jsonPath) {
      errors.push(fieldRequired(at))
      continue
    }
    const found = fieldPathSchema(schema, jsonPath)
    if (typeof found === 'string') {
      errors.push(fieldInvalid(at, jsonPath, `is an invalid path: ${found}`))
      continue
    }
    if (found.keys[0] === 'metadata') errors.push(fieldInvalid(at, jsonPath, 'must not point to fields in metadata'))
    if (!['string', 'boolean', 'integer'].includes(found.schema.type ?? '')) errors.push(fieldInvalid(at, jsonPath, 'must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.'))
    if (seen.has(found.keys.join('.'))) errors.push(fieldDuplicate(at, jsonPath))
    seen.add(found.keys.join('.'))
  }
  if (seen.size > MAX_SELECTABLE) errors.push(fieldTooMany(path, seen.size, MAX_SELECTABLE))
  return errors
}

function conversionErrors(conversion: CustomResourceConversion | undefined): FieldError[] {
  if (!conversion) return []
  const path = 'spec.conversion'
  const { strategy, webhook } = conversion
  const errors: FieldError[] = []
  if (!strategy) errors.push(fieldRequired(`${path}.strategy`))
  else if (!['None', 'Webhook'].includes(strategy)) errors.push(fieldNotSupported(`${path}.strategy`, strategy, ['None', 'Webhook']))
  if (strategy !== 'Webhook') {
    if (webhook?.clientConfig) errors.push(fieldForbidden(`${path}.webhookClientConfig`, 'should not be set when strategy is not set to Webhook'))
    if (webhook?.conversionReviewVersions?.length) errors.push(fieldForbidden(`${path}.conversionReviewVersions`, 'should not be set when strategy is not set to Webhook'))
    return errors
  }
  if (!webhook?.clientConfig) errors.push(fieldRequired(`${path}.webhookClientConfig`, 'required when strategy is set to Webhook'))
  else errors.push(...clientConfigErrors(webhook.clientConfig, `${path}.webhookClientConfig`))
  const versions = webhook?.conversionReviewVersions ?? []
  const at = `${path}.conversionReviewVersions`
  if (versions.length === 0) return [...errors, fieldRequired(at)]
  for (const [i, v] of versions.entries()) {
    if (versions.indexOf(v) < i) errors.push(fieldInvalid(`${at}[${i}]`, v, 'duplicate version'))
    else errors.push(...dns1035Errors(v).map((e) => fieldInvalid(`${at}[${i}]`, v, e)))
  }
  if (!versions.some((v) => REVIEW_VERSIONS.includes(v))) errors.push(fieldInvalid(at, versions, `must include at least one of ${REVIEW_VERSIONS.join(', ')}`))
  return errors
}

function storedErrors(stored: readonly string[], versions: readonly CustomResourceDefinitionVersion[]): FieldError[] {
  const path = 'status.storedVersions'
  if (stored.length === 0) return [fieldInvalid(path, stored, 'must have at least one stored version')]
  const errors = versions.filter((v) => v.storage && !stored.includes(v.name)).map((v) => fieldInvalid(path, stored, `must have the storage version ${v.name}`))
  for (const [i, v] of stored.entries()) {
    if (versions.some((x) => x.name === v)) continue
    errors.push(fieldInvalid(`${path}[${i}]`, v, `missing from spec.versions; ${v} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${v} and removes ${v} from status.storedVersions`))
  }
  return errors
}

/** What a CRD keeps: group and plural always, scope and kind once established. */
export function crdUpdateErrors(next: CustomResourceDefinition, old: CustomResourceDefinition): FieldError[] {
  const errors: FieldError[] = []
  if (old.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True')) {
    errors.push(...immutable('spec.scope', next.spec?.scope, old.spec?.scope), ...immutable('spec.names.kind', next.spec?.names?.kind, old.spec?.names?.kind))
  }
  errors.push(...immutable('spec.group', next.spec?.group, old.spec?.group), ...immutable('spec.names.plural', next.spec?.names?.plural, old.spec?.names?.plural))
  return [...errors, ...approvalErrors(next, old)]
}

/** What a status writer must leave right: the versions that hold objects, and the names. */
export function crdStatusErrors(next: CustomResourceDefinition): FieldError[] {
  const { acceptedNames, storedVersions } = next.status ?? {}
  return [...(acceptedNames ? nameErrors(acceptedNames, 'status.acceptedNames') : []), ...(storedVersions ? storedErrors(storedVersions, next.spec?.versions ?? []) : [])]
}

/** What the approval annotation of a definition means. */
export type Approval = 'missing' | 'invalid' | 'approved' | 'bypassed'

/** True for groups that only Kubernetes itself may name. */
export function isProtectedGroup(group: string): boolean {
  return /(^|\.)(k8s\.io|kubernetes\.io)$/.test(group)
}

/** The state of the approval annotation. */
export function approvalOf(crd: CustomResourceDefinition): Approval {
  const text = crd.metadata?.annotations?.[APPROVED]
  if (!text) return 'missing'
  if (text.startsWith('unapproved')) return 'bypassed'
  return URL.canParse(text) && new URL(text).host !== '' ? 'approved' : 'invalid'
}

function approvalErrors(next: CustomResourceDefinition, old: CustomResourceDefinition | undefined): FieldError[] {
  if (!isProtectedGroup(next.spec?.group ?? '')) return []
  const state = approvalOf(next)
  if (old && approvalOf(old) === state) return []
  const path = `metadata.annotations[${APPROVED}]`
  const see = 'see https://github.com/kubernetes/enhancements/pull/1111'
  if (state === 'missing') return [fieldRequired(path, `protected groups must have approval annotation "${APPROVED}", ${see}`)]
  if (state !== 'invalid') return []
  return [fieldInvalid(path, next.metadata?.annotations?.[APPROVED], `protected groups must have approval annotation "${APPROVED}" with either a URL or a reason starting with "unapproved", ${see}`)]
}
