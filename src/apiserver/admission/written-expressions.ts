/**
 * CEL that built-in kinds carry is compiled when it is written, and refused when it does not: match conditions of webhooks,
 * admission policies, selectors of devices. What stood there before stays as it is. The engine is loaded with the first one.
 */
import { KINDS, type ResourceDef } from '../../api/kinds.ts'
import { fieldInvalid, invalid, type FieldError } from '../../api/status.ts'
import { messageOf } from '../../base/errors.ts'
import type { PolicyUse } from '../cel/policies.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

/** An expression where it stands. */
interface Written {
  readonly path: string
  readonly expression: string
  readonly use?: PolicyUse
  readonly name?: string
}
type Compile = (written: Written) => void

interface Source {
  readonly all: (object: object) => readonly Written[]
  readonly compiler: (object: object) => Promise<Compile>
}

interface Hooks {
  readonly webhooks?: readonly { readonly matchConditions?: readonly { readonly expression?: string }[] }[]
}
interface Selecting {
  readonly selectors?: readonly { readonly cel?: { readonly expression?: string } }[]
}
interface Claimed {
  readonly devices?: { readonly requests?: readonly { readonly exactly?: Selecting; readonly firstAvailable?: readonly Selecting[] }[] }
}
interface Policy {
  readonly spec?: {
    readonly paramKind?: object
    readonly matchConditions?: readonly { readonly expression?: string }[]
    readonly variables?: readonly { readonly name?: string; readonly expression?: string }[]
    readonly validations?: readonly { readonly expression?: string; readonly messageExpression?: string }[]
    readonly auditAnnotations?: readonly { readonly valueExpression?: string }[]
  }
}

const WEBHOOKS: Source = {
  all: (object) => ((object as Hooks).webhooks ?? []).flatMap((w, i) => (w.matchConditions ?? []).map((c, j) => ({ path: `webhooks[${i}].matchConditions[${j}].expression`, expression: c.expression ?? '' }))),
  compiler: async () => {
    const { compileCondition } = await import('../cel/conditions.ts')
    return ({ expression }) => void compileCondition(expression)
  },
}

const POLICIES: Source = {
  all(object) {
    const { matchConditions = [], variables = [], validations = [], auditAnnotations = [] } = (object as Policy).spec ?? {}
    const at = (list: string, i: number, field = 'expression'): string => `spec.${list}[${i}].${field}`
    return [
      ...matchConditions.map((c, i): Written => ({ path: at('matchConditions', i), expression: c.expression ?? '', use: 'condition' })),
      ...variables.map((v, i): Written => ({ path: at('variables', i), expression: v.expression ?? '', use: 'variable', name: v.name ?? '' })),
      ...validations.flatMap((v, i): Written[] => [
        { path: at('validations', i), expression: v.expression ?? '', use: 'validation' },
        ...(v.messageExpression ? [{ path: at('validations', i, 'messageExpression'), expression: v.messageExpression, use: 'message' as const }] : []),
      ]),
      ...auditAnnotations.map((a, i): Written => ({ path: at('auditAnnotations', i, 'valueExpression'), expression: a.valueExpression ?? '', use: 'annotation' })),
    ]
  },
  compiler: async (object) => {
    const { PolicyCompiler } = await import('../cel/policies.ts')
    const compiler = new PolicyCompiler((object as Policy).spec?.paramKind !== undefined)
    return ({ use = 'validation', expression, name }) => compiler.check(use, expression, name)
  },
}

const selectorsOf = ({ selectors = [] }: Selecting, path: string): Written[] => selectors.map((s, i) => ({ path: `${path}.selectors[${i}].cel.expression`, expression: s.cel?.expression ?? '' }))
const claimSelectors = ({ devices }: Claimed, path: string): Written[] =>
  (devices?.requests ?? []).flatMap(({ exactly, firstAvailable = [] }, i) => [
    ...(exactly ? selectorsOf(exactly, `${path}.devices.requests[${i}].exactly`) : []),
    ...firstAvailable.flatMap((f, j) => selectorsOf(f, `${path}.devices.requests[${i}].firstAvailable[${j}]`)),
  ])
const devices = (all: Source['all']): Source => ({
  all,
  compiler: async () => {
    const { compileDeviceSelector } = await import('../cel/device-selectors.ts')
    return ({ expression }) => void compileDeviceSelector(expression)
  },
})

const SOURCES = new Map<ResourceDef, Source>([
  [KINDS.MutatingWebhookConfiguration, WEBHOOKS],
  [KINDS.ValidatingWebhookConfiguration, WEBHOOKS],
  [KINDS.ValidatingAdmissionPolicy, POLICIES],
  [KINDS.DeviceClass, devices((o) => selectorsOf((o as { spec?: Selecting }).spec ?? {}, 'spec'))],
  [KINDS.ResourceResourceClaim, devices((o) => claimSelectors((o as { spec?: Claimed }).spec ?? {}, 'spec'))],
  [KINDS.ResourceClaimTemplate, devices((o) => claimSelectors((o as { spec?: { spec?: Claimed } }).spec?.spec ?? {}, 'spec.spec'))],
])

export const writtenExpressions: AdmissionPlugin = {
  name: 'WrittenExpressions',
  validate(event) {
    const source = event.verb === 'delete' || event.call.info.subresource !== undefined ? undefined : SOURCES.get(event.call.def)
    return source && check(event, source)
  },
}

async function check({ call, object, old }: AdmissionEvent, source: Source): Promise<void> {
  const said = ({ path, expression }: Written): string => `${path.replaceAll(/\d+/g, '')} ${expression}`
  const before = new Set(old ? source.all(old).map(said) : [])
  const written = source.all(object)
  if (written.every((w) => before.has(said(w)))) return
  const compile = await source.compiler(object)
  const errors = written.flatMap((w): FieldError[] => {
    try {
      compile(w)
      return []
    } catch (error) {
      return before.has(said(w)) ? [] : [fieldInvalid(w.path, w.expression, messageOf(error))]
    }
  })
  if (errors.length > 0) throw invalid(call.def, object.metadata.name ?? '', errors)
}
