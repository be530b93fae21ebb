/**
 * Join tokens: `S10<sha256 of the root CA's DER, hex>::<id>.<secret>`, or the short `<id>.<secret>` that pins nothing.
 * id and secret have the form of Kubernetes bootstrap tokens. A secret never appears in an error.
 */
import { randomInt } from 'node:crypto'
import { AppError } from '../base/errors.ts'

const PREFIX = 'S10'
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'

export interface JoinToken {
  /** Six of [a-z0-9]; public. */
  readonly id: string
  /** Sixteen of [a-z0-9]. */
  readonly secret: string
  /** sha256 of the root CA's DER, lower-case hex. undefined: the server's CA cannot be checked when joining. */
  readonly caHash: string | undefined
}

/** A fresh random id and secret (83 bits). */
export function newToken(): { id: string; secret: string } {
  const pick = (n: number): string => Array.from({ length: n }, () => LETTERS[randomInt(LETTERS.length)]).join('')
  return { id: pick(6), secret: pick(16) }
}

/** The token's text: the long form, or the short one when it pins no CA. */
export function formatToken(token: JoinToken): string {
  const short = `${token.id}.${token.secret}`
  return token.caHash === undefined ? short : `${PREFIX}${token.caHash}::${short}`
}

/** Reads either form; surrounding white space is forgiven. @throws AppError `invalid` naming the part that is wrong */
export function parseToken(text: string): JoinToken {
  const bad = (why: string): never => {
    throw new AppError('invalid', `read join token: ${why}; a token is ${PREFIX}<64 hex digits>::<6 letters or digits>.<16 letters or digits>, as \`skerry token create\` prints it`)
  }
  const token = text.trim()
  if (token === '') bad('it is empty')
  const cut = token.lastIndexOf('::')
  const head = cut < 0 ? '' : token.slice(0, cut)
  const credential = cut < 0 ? token : token.slice(cut + 2)
  let caHash: string | undefined
  if (cut >= 0) {
    if (!head.startsWith(PREFIX)) bad(head.startsWith('K10') ? `it starts with 'K10', so it is a token of a K3s server` : `it does not start with '${PREFIX}'`)
    caHash = head.slice(PREFIX.length).toLowerCase()
    if (!/^[0-9a-f]{64}$/.test(caHash)) bad(`its CA hash has ${caHash.length} characters${/[^0-9a-f]/.test(caHash) ? ', some not hexadecimal' : ''}, not 64 hex digits`)
  } else if (token.startsWith(PREFIX) && token.length > 40) bad(`it has no '::' after the CA hash, so it was cut off`)
  const dot = credential.indexOf('.')
  if (dot < 0) bad(`it has no '.' between id and secret`)
  const id = credential.slice(0, dot)
  const secret = credential.slice(dot + 1)
  if (!/^[a-z0-9]{6}$/.test(id)) bad(`its id '${id.slice(0, 12)}' is not 6 letters or digits`)
  if (!/^[a-z0-9]{16}$/.test(secret)) bad(`its secret (of ${secret.length} characters) is not 16 letters or digits`)
  return { id, secret, caHash }
}
