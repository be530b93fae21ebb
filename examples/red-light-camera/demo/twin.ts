/** Changes a camera's setting through the API, as kubectl patch does, and times how long until the camera's answer stands there. */
import { readFileSync } from 'node:fs'
import { PATCH_TYPES } from '../../../src/api/contract.ts'
import { createClient, createHttpTransport, parseKubeconfig, type Client, type ResourceRef } from '../../../src/client/mod.ts'
import { quantile } from './truth.ts'
import type { World } from './world.ts'

const DEVICES: ResourceRef = { group: 'devices.kubeedge.io', version: 'v1beta1', resource: 'devices', kind: 'Device', namespaced: true }

interface Device {
  metadata: { name: string; resourceVersion?: string }
  spec: { properties: { name: string; desired?: { value: string } }[] }
  status?: { twins?: { propertyName: string; reported?: { value: unknown } }[] }
}

/** `kubectl patch` of one desired value. */
export async function setDesired(w: World, name: string, property: string, value: string): Promise<void> {
  const device = JSON.parse(await w.kubectl('get', 'device', name, '-o', 'json')) as Device
  const at = device.spec.properties.findIndex((p) => p.name === property)
  await w.kubectl('patch', 'device', name, '--type', 'json', '-p', JSON.stringify([{ op: 'replace', path: `/spec/properties/${at}/desired/value`, value }]))
}

/** Sets a property `sets` times to ever new values; each time from the patch's sending until a watch shows it reported. */
export async function measureTwin(w: World, name: string, property: string, sets: number): Promise<{ times: number[]; p50Ms: number; p99Ms: number }> {
  const client: Client = createClient(createHttpTransport(parseKubeconfig(readFileSync(w.kubeconfig, 'utf8'))))
  const devices = client.resource<Device>(DEVICES)
  const first = await devices.get(name, 'default')
  const at = first.spec.properties.findIndex((p) => p.name === property)
  const stop = new AbortController()
  let wanted = ''
  let seen: (() => void) | undefined
  const watching = (async () => {
    for (let from = first.metadata.resourceVersion; !stop.signal.aborted; ) {
      for await (const event of devices.watch({ namespace: 'default', fieldSelector: `metadata.name=${name}`, ...(from === undefined ? {} : { resourceVersion: from }) }, stop.signal)) {
        if (event.type === 'BOOKMARK') continue
        from = event.object.metadata.resourceVersion
        if (String(event.object.status?.twins?.find((t) => t.propertyName === property)?.reported?.value) === wanted) seen?.()
      }
    }
  })().catch(() => {}) // Ends with the signal; a set that is not seen fails below by its own time limit.
  const times: number[] = []
  for (let i = 0; i < sets; i++) {
    wanted = String(60 + (i % 30))
    const start = performance.now()
    const answered = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name}: ${property} "${wanted}" was not reported within 10 s`)), 10_000)
      seen = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    await client.transport.request({
      method: 'PATCH',
      path: `/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/${name}`,
      headers: { 'content-type': PATCH_TYPES.json },
      body: JSON.stringify([{ op: 'replace', path: `/spec/properties/${at}/desired/value`, value: wanted }]),
    })
    await answered
    times.push(performance.now() - start)
  }
  stop.abort()
  await watching
  const round = (n: number): number => Math.round(n * 10) / 10
  return { times, p50Ms: round(quantile(times, 0.5)), p99Ms: round(quantile(times, 0.99)) }
}
