import { before } from 'node:test'
import { setLogSink } from '../base/log.ts'
import { dialerSuite } from '../../test/suites/dialer.ts'
import { LocalDialer } from './local-dialer.ts'
import { frontDoor, startLink, testHub, testPki, until, type RunningLink, type TestPki } from '../../test/kit/tunnel.ts'

setLogSink(() => undefined)
let pki: TestPki
before(async () => {
  pki = await testPki()
})

dialerSuite('tunnel', async () => {
  const hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  const links = new Map<string, RunningLink>()
  return {
    dialer: hub,
    async connect(node, handler) {
      const former = hub.links().find((l) => l.node === node)?.remote
      const link = startLink(door.url, await pki.client(node), handler)
      await until(() => link.states.at(-1)?.phase === 'connected' && hub.links().some((l) => l.node === node && l.remote !== former))
      await links.get(node)?.stop()
      links.set(node, link)
    },
    async lose(node) {
      await links.get(node)?.stop()
      await until(() => !hub.links().some((l) => l.node === node))
    },
    async [Symbol.asyncDispose]() {
      for (const l of links.values()) await l.stop()
      await hub[Symbol.asyncDispose]()
      await door.close()
    },
  }
})

dialerSuite('fake', async () => {
  const dialer = new LocalDialer()
  return {
    dialer,
    connect: async (node, handler) => dialer.connect(node, handler),
    lose: async (node) => dialer.disconnect(node),
    [Symbol.asyncDispose]: async () => undefined,
  }
})
