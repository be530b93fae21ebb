/** Image references as containerd and Docker read them. Pure. */
import { AppError } from '../base/errors.ts'

export interface Reference {
  /** `docker.io`, `registry.example:5000`, … */
  readonly registry: string
  /** `library/nginx` */
  readonly repository: string
  readonly tag: string | undefined
  readonly digest: string | undefined
}

const REPOSITORY = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/
const TAG = /^[\w][\w.-]{0,127}$/
const DIGEST = /^sha256:[0-9a-f]{64}$/

/** `face-recognition` is `docker.io/library/face-recognition:latest`. @throws AppError `invalid` */
export function parseReference(text: string): Reference {
  const bad = (why: string): never => {
    throw new AppError('invalid', `read image reference "${text.slice(0, 200)}": ${why}`)
  }
  let rest = text
  let digest: string | undefined
  const at = rest.indexOf('@')
  if (at >= 0) {
    digest = rest.slice(at + 1)
    rest = rest.slice(0, at)
    if (!DIGEST.test(digest)) bad(`digest "${digest.slice(0, 90)}" is not sha256:<64 hex digits>`)
  }
  let tag: string | undefined
  const colon = rest.lastIndexOf(':')
  if (colon > rest.lastIndexOf('/')) {
    tag = rest.slice(colon + 1)
    rest = rest.slice(0, colon)
    if (!TAG.test(tag)) bad(`tag "${tag.slice(0, 140)}" is not made of letters, digits, '_', '.', '-' (at most 128)`)
  }
  const slash = rest.indexOf('/')
  const first = slash < 0 ? '' : rest.slice(0, slash)
  const hasHost = first.includes('.') || first.includes(':') || first === 'localhost'
  const registry = hasHost ? (first === 'index.docker.io' ? 'docker.io' : first) : 'docker.io'
  let repository = hasHost ? rest.slice(slash + 1) : rest
  if (!REPOSITORY.test(repository)) bad(`name "${repository.slice(0, 140)}" is not lower-case letters, digits and separators`)
  if (registry === 'docker.io' && !repository.includes('/')) repository = `library/${repository}`
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest }
}

/** The whole reference, as containerd shows it. */
export function formatReference(r: Reference): string {
  return `${r.registry}/${r.repository}${r.tag === undefined ? '' : `:${r.tag}`}${r.digest === undefined ? '' : `@${r.digest}`}`
}

/** True for `sha256:` and 64 hex digits. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text)
}
