/** Validation of a pod's volumes. */
import type { Volume } from '../gen/types.ts'
import { dnsLabelErrors } from '../names.ts'
import { fieldForbidden, fieldInvalid, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { supported } from './container.ts'

const HOST_PATH_TYPES = ['', 'BlockDevice', 'CharDevice', 'Directory', 'DirectoryOrCreate', 'File', 'FileOrCreate', 'Socket']
/** Ten minutes, the least a bound token may live. */
const MIN_TOKEN_SECONDS = 600

/** A volume at `path`, e.g. `spec.volumes[0]`. */
export function volumeErrors(v: Volume, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (!v.name) errors.push(fieldRequired(`${path}.name`))
  else errors.push(...dnsLabelErrors(v.name).map((e) => fieldInvalid(`${path}.name`, v.name, e)))
  const sources = Object.entries(v).filter(([k, x]) => k !== 'name' && x !== undefined)
  if (sources.length === 0) errors.push(fieldRequired(path, 'must specify a volume type'))
  for (const [key] of sources.slice(1)) errors.push(fieldForbidden(`${path}.${key}`, 'may not specify more than 1 volume type'))
  if (v.hostPath) {
    if (!v.hostPath.path) errors.push(fieldRequired(`${path}.hostPath.path`))
    else if (v.hostPath.path.split('/').includes('..')) errors.push(fieldInvalid(`${path}.hostPath.path`, v.hostPath.path, "must not contain '..'"))
    supported(v.hostPath.type, HOST_PATH_TYPES, `${path}.hostPath.type`, errors)
  }
  if (v.secret && !v.secret.secretName) errors.push(fieldRequired(`${path}.secret.secretName`))
  if (v.configMap && !v.configMap.name) errors.push(fieldRequired(`${path}.configMap.name`))
  if (v.persistentVolumeClaim && !v.persistentVolumeClaim.claimName) errors.push(fieldRequired(`${path}.persistentVolumeClaim.claimName`))
  for (const key of ['secret', 'configMap'] as const) {
    for (const [i, item] of (v[key]?.items ?? []).entries()) {
      if (!item.key) errors.push(fieldRequired(`${path}.${key}.items[${i}].key`))
      errors.push(...filePathErrors(item.path, `${path}.${key}.items[${i}].path`))
    }
  }
  errors.push(...projectedErrors(v, path))
  return errors
}

function projectedErrors(v: Volume, path: string): FieldError[] {
  return (v.projected?.sources ?? []).flatMap((s, i) => {
    const at = `${path}.projected.sources[${i}]`
    const errors: FieldError[] = []
    const given = Object.keys(s)
    if (given.length === 0) errors.push(fieldRequired(at, 'must specify a projection type'))
    for (const key of given.slice(1)) errors.push(fieldForbidden(`${at}.${key}`, 'may not specify more than 1 volume type'))
    const token = s.serviceAccountToken
    if (token?.expirationSeconds !== undefined && token.expirationSeconds < MIN_TOKEN_SECONDS) {
      errors.push(fieldInvalid(`${at}.serviceAccountToken.expirationSeconds`, token.expirationSeconds, 'may not specify a duration less than 10 minutes'))
    }
    if (token) errors.push(...filePathErrors(token.path, `${at}.serviceAccountToken.path`))
    return errors
  })
}

function filePathErrors(file: string | undefined, path: string): FieldError[] {
  if (!file) return [fieldRequired(path)]
  if (file.startsWith('/')) return [fieldInvalid(path, file, 'must be a relative path')]
  if (file.split('/').includes('..')) return [fieldInvalid(path, file, "must not contain '..'")]
  return file.startsWith('..') ? [fieldInvalid(path, file, "must not start with '..'")] : []
}
