/**
 * What `--store` says: `sqlite`, or `etcd://host:port[,host:port…][/name][?ca=FILE&cert=FILE&key=FILE][&user=NAME&password-file=FILE]`.
 * Reads the files it names, and again when etcd cannot be reached: certificates are renewed.
 */
import { readFileSync } from 'node:fs'
import { AppError, messageOf } from '../base/errors.ts'
import type { EtcdAddress } from '../store/mod.ts'

/** `encrypted`: patterns of the resources that are sealed in it. @default none */
export type StoreChoice = ({ readonly kind: 'sqlite' } | { readonly kind: 'etcd'; readonly address: EtcdAddress }) & { readonly encrypted?: readonly string[] }

const PARTS = ['ca', 'cert', 'key', 'user', 'password-file']
const EXAMPLE = 'etcd://10.0.0.1:2379,10.0.0.2:2379?ca=/etc/etcd/ca.crt&cert=/etc/etcd/client.crt&key=/etc/etcd/client.key'

/** @throws AppError `invalid` that names the part that is wrong */
export function parseStore(text: string, flag = 'store'): StoreChoice {
  if (text === 'sqlite') return { kind: 'sqlite' }
  const refuse = (why: string): AppError => new AppError('invalid', `read settings: --${flag} "${text}" ${why}`)
  const m = /^etcd:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(text)
  if (!m) throw refuse(`is neither sqlite nor like ${EXAMPLE}`)
  const endpoints = (m[1] ?? '').split(',').map((e) => {
    const port = Number(/^(?:[\w.-]+|\[[\da-fA-F:.]+\]):(\d{1,5})$/.exec(e)?.[1])
    if (!(port > 0 && port < 65_536)) throw refuse(`names the member "${e}", expected host:port as in ${EXAMPLE}`)
    return e
  })
  const query = new URLSearchParams(m[3] ?? '')
  for (const name of query.keys()) if (!PARTS.includes(name)) throw refuse(`has the part "${name}", known are ${PARTS.join(', ')}`)
  const read = (name: string, path: string): string => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new AppError('invalid', `read settings: ${name} of --${flag} names "${path}", which cannot be read: ${messageOf(error)}`, { cause: error })
    }
  }
  const pem = (name: string): string | undefined => {
    const path = query.get(name)
    if (path === null) return undefined
    const pemText = read(name, path)
    if (!pemText.includes('-----BEGIN ')) throw refuse(`names "${path}" as ${name}, which is not a PEM file`)
    return pemText
  }
  const tls = (): EtcdAddress['tls'] => {
    const [ca, cert, key] = [pem('ca'), pem('cert'), pem('key')]
    if ((cert === undefined) !== (key === undefined)) throw refuse('has one of cert and key; give both, or neither')
    if (ca === undefined && cert !== undefined) throw refuse('has cert and key without ca; give the CA that signed the certificate of etcd')
    return ca === undefined ? undefined : { ca, cert, key }
  }
  const [user, passwordFile] = [query.get('user'), query.get('password-file')]
  if ((user === null) !== (passwordFile === null)) throw refuse('has one of user and password-file; give both, or neither')
  const password = (): string => read('password-file', passwordFile ?? '').replace(/\r?\n$/, '')
  if (passwordFile !== null) password()
  const pems = tls()
  const name = (m[2] ?? '/').replace(/^\/+|\/+$/g, '') || 'skerry'
  return { kind: 'etcd', address: { endpoints, prefix: `/${name}/`, tls: pems, ...(pems && { reload: tls }), ...(user !== null && { user: { name: user, password } }) } }
}
