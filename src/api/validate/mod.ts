/**
 * Validation by kind, after decoding and defaulting: what is wrong with an object, as field errors in Kubernetes' words. Pure. The
 * API server makes `invalid(...)` of status.ts from them. Kinds that nothing acts on yet are held to their schema's required fields.
 */
import { cloneJson } from '../../base/json.ts'
import type { KubeObject } from '../meta.ts'
import type { ResourceDef } from '../resource.ts'
import { walk } from '../schema.ts'
import { schemaOf } from '../schema-table.ts'
import type { FieldError } from '../status.ts'
import * as cluster from './cluster.ts'
import * as config from './config.ts'
import * as crd from './crd.ts'
import { metaErrors, metaUpdateErrors } from './meta.ts'
import * as pod from './pod.ts'
import * as workload from './workload.ts'

interface Rules {
  /** What must hold on create and on update. */
  readonly always?: (object: never) => FieldError[]
  readonly create?: (object: never) => FieldError[]
  readonly update?: (next: never, old: never) => FieldError[]
}

/** By name of the type. */
const RULES: Readonly<Record<string, Rules>> = {
  Pod: { always: pod.podErrors, create: pod.podCreateErrors, update: pod.podUpdateErrors },
  Deployment: { always: workload.deploymentErrors, update: workload.selectorUpdateErrors },
  ReplicaSet: { always: workload.replicaSetErrors, update: workload.selectorUpdateErrors },
  DaemonSet: { always: workload.daemonSetErrors, update: workload.selectorUpdateErrors },
  StatefulSet: { always: workload.statefulSetErrors, update: workload.statefulSetUpdateErrors },
  Job: { always: workload.jobErrors },
  ConfigMap: { always: config.configMapErrors, update: config.frozenDataErrors },
  Secret: { always: config.secretErrors, update: config.frozenDataErrors },
  Service: { always: config.serviceErrors, update: config.serviceUpdateErrors },
  Node: { always: cluster.nodeErrors, update: cluster.nodeUpdateErrors },
  Event: { always: cluster.eventErrors },
  Lease: { always: cluster.leaseErrors },
  CertificateSigningRequest: { always: cluster.signingRequestErrors, update: cluster.signingRequestUpdateErrors },
  Role: { always: (o) => cluster.roleErrors(o, false) },
  ClusterRole: { always: (o) => cluster.roleErrors(o, true) },
  RoleBinding: { always: (o) => cluster.bindingErrors(o, false), update: cluster.bindingUpdateErrors },
  ClusterRoleBinding: { always: (o) => cluster.bindingErrors(o, true), update: cluster.bindingUpdateErrors },
  CustomResourceDefinition: { always: crd.crdErrors, update: crd.crdUpdateErrors },
  Namespace: {},
  ServiceAccount: {},
  EventsEvent: {},
}

/** What is wrong with a new object. Its name must be set (generateName resolved). */
export function validateCreate(def: ResourceDef, object: KubeObject): FieldError[] {
  const errors = metaErrors(def, object.metadata ?? {})
  if (def.custom) return errors
  const rules = RULES[def.schema]
  if (!rules) return [...errors, ...requiredErrors(def, object)]
  return [...errors, ...(rules.always?.(object as never) ?? []), ...(rules.create?.(object as never) ?? [])]
}

/**
 * What is wrong with replacing `old` by `next`. A status-like subresource is judged by its metadata only: its writers are
 * parts of the system, and the schema has already been checked.
 */
export function validateUpdate(def: ResourceDef, next: KubeObject, old: KubeObject, subresource?: string): FieldError[] {
  const errors = [...metaErrors(def, next.metadata ?? {}), ...metaUpdateErrors(next.metadata ?? {}, old.metadata ?? {})]
  if (def.custom || (subresource !== undefined && subresource !== 'ephemeralcontainers')) return errors
  const rules = RULES[def.schema]
  if (!rules) return [...errors, ...requiredErrors(def, next)]
  errors.push(...(rules.always?.(next as never) ?? []))
  // The ephemeralcontainers subresource changes exactly what a plain update may not.
  if (subresource === undefined) errors.push(...(rules.update?.(next as never, old as never) ?? []))
  return errors
}

/** Missing required fields by the schema, the status apart, which its writer fills in later. */
function requiredErrors(def: ResourceDef, object: KubeObject): FieldError[] {
  const { status: _status, ...rest } = object as KubeObject & { status?: unknown }
  return walk(schemaOf(def.schema), cloneJson(rest), { prune: false, required: true }).errors
}
