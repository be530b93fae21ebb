/** Validation of ConfigMaps and Secrets: keys, size, what a type of Secret asks for, and data that is frozen. */
import type { ConfigMap, Secret } from '../gen/types.ts'
import { configKeyErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import type { FieldError } from '../status.ts'
import { byteLength, findings } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'

/** Bytes of all values in one ConfigMap or Secret. */
const MAX_DATA_BYTES = 1024 * 1024

/** Bytes that a padded base64 text stands for; line breaks count for nothing. */
function decodedLength(text: string): number {
  const plain = text.includes('\n') || text.includes('\r') ? text.replace(/[\r\n]/g, '') : text
  const padding = plain.endsWith('==') ? 2 : plain.endsWith('=') ? 1 : 0
  return (plain.length / 4) * 3 - padding
}

/** ConfigMap: keys that are no key of the other half, and the size of both. */
export function configMapErrors(c: ConfigMap): FieldError[] {
  return findings((e) => {
    let size = 0
    for (const [key, value] of Object.entries(c.data ?? {})) {
      e.text(`data[${key}]`, key, configKeyErrors)
      if (c.binaryData?.[key] !== undefined) e.invalid(`data[${key}]`, key, 'duplicate of key present in binaryData')
      size += byteLength(value)
    }
    for (const [key, value] of Object.entries(c.binaryData ?? {})) {
      e.text(`binaryData[${key}]`, key, configKeyErrors)
      size += decodedLength(value)
    }
    if (size > MAX_DATA_BYTES) e.tooLong('', MAX_DATA_BYTES)
  })
}

const ACCOUNT = 'kubernetes.io/service-account.name'

/** What a Secret of a type must have. */
const BY_TYPE: Readonly<Record<string, (e: Findings, s: Secret) => void>> = {
  'kubernetes.io/service-account-token': (e, s) => {
    if (!s.metadata?.annotations?.[ACCOUNT]) e.required(`metadata.annotations[${ACCOUNT}]`)
  },
  'kubernetes.io/dockercfg': (e, s) => jsonKey(e, s, '.dockercfg'),
  'kubernetes.io/dockerconfigjson': (e, s) => jsonKey(e, s, '.dockerconfigjson'),
  'kubernetes.io/basic-auth': (e, s) => {
    if (s.data?.username !== undefined || s.data?.password !== undefined) return
    e.required('data[username]')
    e.required('data[password]')
  },
  'kubernetes.io/ssh-auth': (e, s) => void e.named('data[ssh-privatekey]', s.data?.['ssh-privatekey']),
  'kubernetes.io/tls': (e, s) => {
    for (const key of ['tls.crt', 'tls.key']) if (s.data?.[key] === undefined) e.required(`data[${key}]`)
  },
}

function jsonKey(e: Findings, s: Secret, key: string): void {
  const value = s.data?.[key]
  if (value === undefined) return e.required(`data[${key}]`)
  const wrong = (why: string): void => e.invalid(`data[${key}]`, '<secret contents redacted>', why)
  try {
    const parsed: unknown = JSON.parse(atob(value))
    if (typeof parsed !== 'object' || Array.isArray(parsed)) wrong('json: cannot unmarshal the value into Go value of type map[string]interface {}')
  } catch {
    // The text itself is a secret, so nothing of what the parser says is told.
    wrong(value === '' ? 'unexpected end of JSON input' : 'invalid character in JSON input')
  }
}

/** Secret: keys, size, and what its type asks for. */
export function secretErrors(s: Secret): FieldError[] {
  return findings((e) => {
    let size = 0
    for (const [key, value] of Object.entries(s.data ?? {})) {
      e.text(`data[${key}]`, key, configKeyErrors)
      size += decodedLength(value)
    }
    if (size > MAX_DATA_BYTES) e.tooLong('data', MAX_DATA_BYTES)
    BY_TYPE[s.type ?? '']?.(e, s)
  })
}

/** Once `immutable` is true it stays, and the data with it; a Secret's type never changes. */
export function frozenDataErrors(next: ConfigMap & Secret, old: ConfigMap & Secret): FieldError[] {
  return findings((e) => {
    e.add(immutable('type', next.type, old.type))
    if (!old.immutable) return
    const text = 'field is immutable when `immutable` is set'
    if (!next.immutable) e.forbidden('immutable', text)
    for (const key of ['data', 'binaryData'] as const) if (!equal(next[key] ?? {}, old[key] ?? {})) e.forbidden(key, text)
  })
}
