/**
 * Cuts the line to the server for a drill, in the node's network namespace: packets to the server's addresses vanish, as on
 * a dead line. The rules live in a table of their own whose entries run out by themselves, so that a drill that was killed
 * leaves no node cut off.
 */
import { execFile } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { AppError } from '../../base/errors.ts'

export interface Peer {
  readonly address: string
  readonly port: number
}

/** Addresses behind the URLs of servers and proxies. @throws AppError `unavailable` for a name that nobody knows */
export async function peersOf(urls: readonly string[]): Promise<Peer[]> {
  const peers: Peer[] = []
  for (const text of urls) {
    const url = new URL(text)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const port = Number(url.port) || (url.protocol === 'http:' ? 80 : 443)
    const found = isIP(host) ? [{ address: host }] : await lookup(host, { all: true }).catch((error: Error) => {
      throw new AppError('unavailable', `drill: the server's name "${host}" is not known here (${error.message}): a line that is not there cannot be cut; drill \`power-loss\` instead`)
    })
    peers.push(...found.map(({ address }) => ({ address, port })))
  }
  return peers
}

/** The nft commands that drop everything to and from the peers for so many seconds at most. */
export function cutRules(table: string, peers: readonly Peer[], seconds: number): string {
  const set = (v: 4 | 6): string => {
    const elements = peers.filter((p) => isIP(p.address) === v).map((p) => `${p.address} . ${p.port} timeout ${seconds}s`)
    return `  set peers${v} { type ipv${v}_addr . inet_service; flags timeout;${elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`} }`
  }
  const chain = (hook: string, from: string): string =>
    `  chain ${hook} { type filter hook ${hook} priority -300; ip ${from}addr . tcp ${from}port @peers4 drop; ip6 ${from}addr . tcp ${from}port @peers6 drop; }`
  return [`table inet ${table} {}`, `delete table inet ${table}`, `table inet ${table} {`, set(4), set(6), chain('output', 'd'), chain('input', 's'), '}', ''].join('\n')
}

/** Lays the rules. @returns how to take them away again */
export async function cut(netns: string, table: string, peers: readonly Peer[], seconds: number): Promise<() => Promise<void>> {
  await nft(netns, cutRules(table, peers, seconds))
  return () => nft(netns, `table inet ${table} {}\ndelete table inet ${table}\n`)
}

function nft(netns: string, rules: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile('nsenter', [`--net=${netns}`, 'nft', '-f', '-'], (error, _out, words) => {
      if (error) reject(new AppError('internal', `drill: nft refused the rules that cut the line: ${words.trim() || error.message}`))
      else resolve()
    })
    child.stdin?.on('error', () => undefined) // nft may end without reading
    child.stdin?.end(rules)
  })
}
