/**
 * The environment of one container: from every source, in Kubernetes' order, with `$(NAME)` expanded. Later wins over
 * earlier: what the node adds, then envFrom in order, then env in order.
 */
import type { Container as ContainerSpec, EnvVar, FileKeySelector } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { ConfigKind, ConfigReader } from '../objects.ts'
import { envFileValue } from './env-file.ts'
import { fieldValue, resourceValue, type FieldContext } from './fields.ts'

export type Environment = ReadonlyMap<string, string>

/** The text of a file in one of the pod's volumes; undefined when it is not there. */
export type FileReader = (volume: string, path: string) => Promise<string | undefined>

const NAME = /^[^=\0]+$/

/** @throws AppError `invalid` (shown as CreateContainerConfigError) or `unavailable` */
export async function environment(
  spec: ContainerSpec,
  context: FieldContext,
  config: ConfigReader,
  added: Readonly<Record<string, string>>,
  files: FileReader,
): Promise<Environment> {
  const env = new Map<string, string>(Object.entries(added))
  for (const from of spec.envFrom ?? []) {
    const ref = from.configMapRef ?? from.secretRef
    if (!ref?.name) continue
    const content = await needObject(config, from.configMapRef ? 'ConfigMap' : 'Secret', ref.name, ref.optional === true)
    for (const [key, value] of content ?? []) {
      const name = (from.prefix ?? '') + key
      if (NAME.test(name)) env.set(name, value.toString('utf8'))
    }
  }
  for (const item of spec.env ?? []) {
    const value = item.valueFrom ? await valueFrom(item, spec, context, config, files) : expand(item.value ?? '', env)
    if (value !== undefined) env.set(item.name, value)
  }
  return env
}

async function valueFrom(item: EnvVar, spec: ContainerSpec, context: FieldContext, config: ConfigReader, files: FileReader): Promise<string | undefined> {
  const from = item.valueFrom
  if (from?.fieldRef) return fieldValue(context, from.fieldRef)
  if (from?.resourceFieldRef) return resourceValue(context, from.resourceFieldRef, spec)
  if (from?.fileKeyRef) return await fileValue(from.fileKeyRef, files)
  const ref = from?.configMapKeyRef ?? from?.secretKeyRef
  if (!ref) throw new AppError('unsupported', `resolve env "${item.name}": its source is not supported`)
  const kind: ConfigKind = from?.configMapKeyRef ? 'ConfigMap' : 'Secret'
  const content = await needObject(config, kind, ref.name ?? '', ref.optional === true)
  const value = content?.get(ref.key)
  if (value !== undefined) return value.toString('utf8')
  if (ref.optional) return undefined
  throw new AppError('invalid', `couldn't find key ${ref.key} in ${kind} ${context.pod.metadata?.namespace}/${ref.name}`)
}

async function fileValue({ volumeName, path, key, optional }: FileKeySelector, files: FileReader): Promise<string | undefined> {
  const text = await files(volumeName, path)
  const value = text === undefined ? undefined : envFileValue(text, key)
  if (value !== undefined || optional) return value
  throw new AppError('invalid', text === undefined ? `couldn't find file ${path} in volume ${volumeName}` : `couldn't find key ${key} in file ${path} of volume ${volumeName}`)
}

/** The content of an object that must exist unless `optional`. @throws AppError `invalid` in Kubernetes' words */
export async function needObject(config: ConfigReader, kind: ConfigKind, name: string, optional: boolean): Promise<ReadonlyMap<string, Buffer> | undefined> {
  const content = await config.read(kind, name)
  if (content || optional) return content
  throw new AppError('invalid', `${kind.toLowerCase()} "${name}" not found`)
}

/** The names that a text takes in as `$(NAME)` and that have no value, sorted. */
export function unset(text: string, env: Environment): string[] {
  const names = [...text.matchAll(/\$\$|\$\(([^()]*)\)/g)].flatMap(([, name]) => (name === undefined || env.get(name) ? [] : [name]))
  return [...new Set(names)].sort()
}

/** Expands `$(NAME)`; `$$` is a dollar; a name that is not set stays as written. */
export function expand(text: string, env: Environment): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (all, name: string | undefined) => (name === undefined ? '$' : (env.get(name) ?? all)))
}
