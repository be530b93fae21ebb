/** The story, chapter by chapter, and what was measured on the way. Long because: it is one story, told in its order. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CYCLE_SECONDS } from '../camera/scene.ts'
import type { AppImages } from './images.ts'
import { chapter, sleep, step, tell, until } from './tell.ts'
import { inOrder, judge, type Found, type Truth } from './truth.ts'
import { measureTwin, setDesired } from './twin.ts'
import { CAMERAS, NODES, type Camera, type World } from './world.ts'

const RECORDS = '/collect/v1/namespaces/default/streams/violations/records'
const HERE = join(import.meta.dirname, '..')

export interface Result {
  seed: number
  violations: { truth: number; found: number; false: number }
  bytes: { framesAtCamera: number; sentToServer: number; ratio: number }
  placement: Record<string, string[]>
  offline: { seconds: number; reconnectMs: number; spooled: number; lost: number; duplicated: number; inOrder: boolean }
  offlineRebootMs: number
  twin: { sets: number; p50Ms: number; p99Ms: number }
  update: { nodes: string[]; lost: number; duplicated: number }
  review: { approved: number; rejected: number; clerkRefused: boolean }
}

interface CollectedRecord {
  id: string
  node: string
  receivedAt?: number
  data: { camera: string; epoch: string; frame: number; lane: number; app: string }
}

/** What in a result is not as it must be; empty when all is well. */
export function verdict(r: Result): string[] {
  const wrong: string[] = []
  if (r.violations.found !== r.violations.truth) wrong.push(`${r.violations.truth - r.violations.found} violations not found`)
  if (r.violations.truth === 0) wrong.push('no violation happened at all: the play was too short')
  if (r.violations.false > 0) wrong.push(`${r.violations.false} false violations`)
  if (r.offline.lost + r.offline.duplicated > 0 || !r.offline.inOrder) wrong.push('records lost, doubled or out of order over the cut link')
  if (r.update.lost + r.update.duplicated > 0) wrong.push('records lost or doubled over the update')
  if (Object.keys(r.placement).includes('till-1')) wrong.push('a pod landed on till-1')
  if (r.twin.sets < 50) wrong.push(`only ${r.twin.sets} settings were answered`)
  return wrong
}

/** Plays it all. Throws when a step does not come about. */
export async function run(w: World, options: { seed: number; cycles: number; images: AppImages }): Promise<Result> {
  const { images } = options
  chapter('1. A server and four nodes that only dial out')
  await step('starting the server', () => w.startServer())
  await step('importing the app image, on the server only', () => w.skerry('image', 'import', images.v1))
  await step('joining cam-1, cam-2, cam-3 and till-1 with tokens of their own', async () => {
    for (const name of NODES) w.startAgent(name, await w.token(name))
    await until('all nodes Ready', 60_000, async () => (await nodesReady(w)).length === NODES.length)
  })
  tell((await w.kubectl('get', 'nodes')).trim())

  chapter('2. Workloads go where the cameras are')
  await step('labelling the camera nodes and applying examples/red-light-camera', async () => {
    for (const c of CAMERAS) await w.kubectl('label', 'node', c, 'device=camera')
    await w.kubectl('apply', '-k', HERE)
  })
  await step('waiting for the app on every camera node (its image comes over the nodes\' own links)', async () => {
    await until('app ready on three nodes', 120_000, async () => (await appPods(w)).filter((p) => p.ready).length === CAMERAS.length)
  })
  const placement = await placed(w)
  tell((await w.kubectl('get', 'pods', '-o', 'wide')).trim())

  chapter('3. Three cameras play: frames stay at the node, violations travel')
  const bytesBefore = await sentToServer(w)
  const started = new Map<Camera, number>()
  CAMERAS.forEach((c, i) => {
    w.startCamera(c, options.seed * 10 + i, options.cycles)
    started.set(c, Date.now())
  })
  await step('waiting for the cameras to be online', () => until('devices online', 30_000, async () => (await devices(w)).every((d) => d.status?.state === 'online')))
  tell((await w.kubectl('get', 'devices')).trim())

  chapter('4. Settings: kubectl patch reaches the camera and comes back as reported')
  await step('cam-1: 8 frames a second', async () => {
    await setDesired(w, 'cam-1', 'fps', '8')
    await until('fps 8 reported', 10_000, async () => reported(await device(w, 'cam-1'), 'fps') === '8')
  })
  const twin = await step('cam-3: 60 settings one after the other', () => measureTwin(w, 'cam-3', 'quality', 60))
  tell(`${twin.times.length} set and reported, p50 ${twin.p50Ms} ms, p99 ${twin.p99Ms} ms`)

  chapter('5. The reviewer')
  const reviewer = (await w.kubectl('create', 'token', 'reviewer')).trim()
  const clerk = (await w.kubectl('create', 'token', 'clerk')).trim()
  const review = await step('approves one violation, rejects one; the clerk may only look', async () => {
    const found = await until('two violations', 60_000, async () => {
      const list = await records(w, reviewer)
      return list.length >= 2 ? list : undefined
    })
    const decide = (token: string, id: string, decision: string): Promise<number> => w.call('POST', `${RECORDS}/${encodeURIComponent(id)}/review`, token, { decision }).then((a) => a.status)
    const refused = await decide(clerk, found[0]?.id ?? '', 'approve')
    const approve = await decide(reviewer, found[0]?.id ?? '', 'approve')
    const reject = await decide(reviewer, found[1]?.id ?? '', 'reject')
    if (approve >= 300 || reject >= 300 || refused !== 403) throw new Error(`review: approve ${approve}, reject ${reject}, clerk ${refused} (want 2xx, 2xx, 403)`)
    return { approved: 1, rejected: 1, clerkRefused: true }
  })
  tell(`the page: ${w.url}/pages/default/violations/`)

  chapter('6. The link goes, then the power')
  const cutAt = Date.now()
  await step('cutting cam-1 and cam-2 off from the server', async () => {
    await w.lab.cut('cam-1')
    await w.lab.cut('cam-2')
  })
  await step('cam-2 loses power: everything but its disk', async () => {
    // Its camera hangs on the same pole. The lights are green when it goes dark, so nobody is caught in mid-violation.
    await untilGreen(started.get('cam-2') ?? 0)
    await w.kill('camera-cam-2', 'SIGTERM')
    await sleep(1500)
    await w.losePower('cam-2')
  })
  const offlineRebootMs = await step('cam-2 boots with no server in reach', async () => {
    const start = performance.now()
    w.startAgent('cam-2')
    await until('app on cam-2 serving', 60_000, async () => (await w.getAt('cam-2', `http://${w.lab.host('cam-2').address}:8092/healthz`)) !== '', 100)
    const ms = Math.round(performance.now() - start)
    w.startCamera('cam-2', options.seed * 10 + 5, Math.max(4, options.cycles - 8))
    await until('frames reach the app again', 30_000, async () => {
      const state = JSON.parse(await w.getAt('cam-2', `http://${w.lab.host('cam-2').address}:8092/`)) as { cameras: Record<string, { frames: number }> }
      return (state.cameras['cam-2']?.frames ?? 0) > 0
    })
    return ms
  })
  tell(`pods and camera back from local state in ${offlineRebootMs} ms`)
  await step('letting cam-1 work on alone until the server has noticed', () =>
    until('both cut-off nodes NotReady', 90_000, async () => {
      const ready = await nodesReady(w)
      return !ready.includes('cam-1') && !ready.includes('cam-2')
    }))
  const noticedMs = Date.now() - cutAt
  await step('and a while longer', () => sleep(Math.max(0, 45_000 - noticedMs)))
  const held = (await appPods(w)).filter((p) => p.node === 'cam-1' || p.node === 'cam-2')
  tell(`the server called them NotReady after ${Math.round(noticedMs / 1000)} s; their ${held.length} pods stay theirs`)
  const known = new Set((await records(w, reviewer)).map((r) => r.id))
  const offlineSeconds = Math.round((Date.now() - cutAt) / 1000)
  const mendedAt = Date.now()
  const reconnectMs = await step('mending both lines', async () => {
    await w.lab.mend('cam-1')
    await w.lab.mend('cam-2')
    const start = performance.now()
    await until('both nodes back', 60_000, async () => (await nodesReady(w)).length === NODES.length, 50)
    return Math.round(performance.now() - start)
  })
  tell(`both nodes Ready again ${reconnectMs} ms after their lines came back`)
  // What happened while cut off, by the cameras' own account, must arrive once and in order.
  const duringCut = truthOf(w).filter((t) => (t.camera === 'cam-1' || t.camera === 'cam-2') && t.timeMs > cutAt + 3000 && t.timeMs < mendedAt - 1500)
  const offline = await step('waiting for what the spools kept', async () => {
    const mine = (list: CollectedRecord[]): Found[] => list.map(foundOf).filter((f) => duringCut.some((t) => t.camera === f.camera && t.epoch === f.epoch && Math.abs(t.frame - f.frame) <= 2))
    await until('spooled violations arrived', 30_000, async () => judge(duringCut, mine(await records(w, reviewer))).missed.length === 0).catch(() => {})
    const list = await records(w, reviewer)
    const result = judge(duringCut, mine(list))
    const late = list.filter((r) => !known.has(r.id) && (r.node === 'cam-1' || r.node === 'cam-2'))
    return { seconds: offlineSeconds, reconnectMs, spooled: late.length, lost: result.missed.length, duplicated: result.duplicated, inOrder: inOrder(list.map(foundOf)) }
  })
  tell(`${offline.spooled} violations waited on the nodes for ${offline.seconds} s; lost ${offline.lost}, doubled ${offline.duplicated}, ${offline.inOrder ? 'in order' : 'OUT OF ORDER'}`)

  chapter('7. A software update without a technician')
  await step('importing v2 on the server only', () => w.skerry('image', 'import', images.v2))
  await step('cutting cam-3 off, then kubectl set image', async () => {
    await w.lab.cut('cam-3')
    await w.kubectl('set', 'image', 'deployment/red-light', 'red-light=red-light:v2')
  })
  await step('rolling through the nodes that are there', () =>
    until('v2 on cam-1 and cam-2', 120_000, async () => {
      const pods = await appPods(w)
      return ['cam-1', 'cam-2'].every((n) => pods.some((p) => p.node === n && p.image.endsWith(':v2') && p.ready))
    }))
  await step('mending cam-3: it follows', async () => {
    await w.lab.mend('cam-3')
    await until('v2 on cam-3', 120_000, async () => (await appPods(w)).some((p) => p.node === 'cam-3' && p.image.endsWith(':v2') && p.ready))
    await w.kubectl('rollout', 'status', 'deployment/red-light', '--timeout=60s')
  })
  tell((await w.kubectl('get', 'pods', '-o', 'wide')).trim())
  const updated = (await appPods(w)).filter((p) => p.image.endsWith(':v2')).map((p) => p.node)
  await step('kubectl rollout undo', async () => {
    await w.kubectl('rollout', 'undo', 'deployment/red-light')
    await until('v1 again everywhere', 120_000, async () => {
      const pods = await appPods(w)
      return pods.length === CAMERAS.length && pods.every((p) => p.image.endsWith(':v1') && p.ready)
    })
  })

  if (options.cycles <= 100) {
    chapter('8. The account')
    await step('waiting for the cameras to finish', () => until('cameras done', options.cycles * CYCLE_SECONDS * 1000 + 60_000, async () => CAMERAS.every((c) => !w.running(`camera-${c}`)), 500))
  }
  const truth = truthOf(w).filter((t) => t.timeMs < Date.now() - 3000 || options.cycles <= 100)
  await until('all violations arrived', 30_000, async () => judge(truth, (await records(w, reviewer)).map(foundOf)).missed.length === 0).catch(() => {})
  const all = (await records(w, reviewer)).map(foundOf)
  const judged = judge(truth, all)
  for (const m of judged.missed) tell(`missed: ${JSON.stringify(m)}`)
  for (const f of judged.wrong) tell(`false: ${JSON.stringify(f)}`)
  const overUpdate = judge(truth.filter((t) => t.timeMs > mendedAt), all.filter((f) => truth.some((t) => t.timeMs > mendedAt && t.camera === f.camera && t.epoch === f.epoch && Math.abs(t.frame - f.frame) <= 2)))
  const frames = framesAtCameras(w)
  const sent = (await sentToServer(w)) - bytesBefore
  const result: Result = {
    seed: options.seed,
    violations: { truth: judged.truth, found: judged.found, false: judged.false },
    bytes: { framesAtCamera: frames, sentToServer: sent, ratio: Math.round((10 * frames) / sent) / 10 },
    placement,
    offline,
    offlineRebootMs,
    twin: { sets: twin.times.length, p50Ms: twin.p50Ms, p99Ms: twin.p99Ms },
    update: { nodes: [...new Set(updated)].sort(), lost: overUpdate.missed.length, duplicated: overUpdate.duplicated },
    review,
  }
  tell(`violations: ${judged.truth} happened, ${judged.found} found, ${judged.false} false`)
  tell(`bytes: the cameras took ${mb(frames)} of pictures, ${mb(sent)} went to the server: ${result.bytes.ratio} times less over the line`)
  for (const wrong of verdict(result)) tell(`NOT AS IT SHOULD BE: ${wrong}`)
  return result
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** Resolves early in the next green of a play that started at `startMs` wall clock. */
async function untilGreen(startMs: number): Promise<void> {
  const phase = ((Date.now() - startMs) / 1000) % CYCLE_SECONDS
  await sleep(((CYCLE_SECONDS - phase + 1.2) % CYCLE_SECONDS) * 1000)
}

interface PodView {
  name: string
  node: string
  image: string
  ready: boolean
}

async function appPods(w: World): Promise<PodView[]> {
  const list = JSON.parse(await w.kubectl('get', 'pods', '-l', 'app=red-light', '-o', 'json')) as {
    items: { metadata: { name: string; deletionTimestamp?: string }; spec: { nodeName?: string; containers: { image: string }[] }; status?: { conditions?: { type: string; status: string }[] } }[]
  }
  return list.items
    .filter((p) => p.metadata.deletionTimestamp === undefined)
    .map((p) => ({
      name: p.metadata.name,
      node: p.spec.nodeName ?? '',
      image: p.spec.containers[0]?.image ?? '',
      ready: p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false,
    }))
}

async function placed(w: World): Promise<Record<string, string[]>> {
  const out: Record<string, string[]> = {}
  for (const p of await appPods(w)) (out[p.node] ??= []).push(p.name)
  return out
}

async function nodesReady(w: World): Promise<string[]> {
  const list = JSON.parse(await w.kubectl('get', 'nodes', '-o', 'json')) as { items: { metadata: { name: string }; status?: { conditions?: { type: string; status: string }[] } }[] }
  return list.items.filter((n) => n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')).map((n) => n.metadata.name)
}

export interface DeviceView {
  metadata: { name: string }
  status?: { state?: string; twins?: { propertyName: string; reported?: { value: unknown } }[] }
}

async function devices(w: World): Promise<DeviceView[]> {
  return (JSON.parse(await w.kubectl('get', 'devices', '-o', 'json')) as { items: DeviceView[] }).items
}

async function device(w: World, name: string): Promise<DeviceView> {
  return JSON.parse(await w.kubectl('get', 'device', name, '-o', 'json')) as DeviceView
}

function reported(d: DeviceView, property: string): string {
  return String(d.status?.twins?.find((t) => t.propertyName === property)?.reported?.value)
}

/** All violation records in the order in which the collector took them. */
async function records(w: World, token: string): Promise<CollectedRecord[]> {
  const out: CollectedRecord[] = []
  for (let after = ''; ; ) {
    const answer = await w.call('GET', `${RECORDS}?limit=500${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`, token)
    if (answer.status !== 200) throw new Error(`list records: status ${answer.status}: ${answer.body.slice(0, 300)}`)
    const page = JSON.parse(answer.body) as { items: CollectedRecord[]; next?: string }
    out.push(...page.items)
    if (page.next === undefined || page.items.length === 0) return out
    after = page.next
  }
}

const foundOf = (r: CollectedRecord): Found => ({ id: r.id, camera: r.data.camera, epoch: r.data.epoch, frame: r.data.frame, lane: r.data.lane })

function truthOf(w: World): (Truth & { timeMs: number })[] {
  return CAMERAS.flatMap((c) => {
    const file = join(w.cameraDir(c), 'truth.jsonl')
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map((l) => JSON.parse(l) as Truth & { timeMs: number }) : []
  })
}

/** Bytes of all pictures taken, by the cameras' own count (one file a start of a camera). */
function framesAtCameras(w: World): number {
  return CAMERAS.reduce((sum, c) => {
    const file = join(w.cameraDir(c), 'stats.jsonl')
    const last = new Map<string, number>()
    if (existsSync(file)) for (const l of readFileSync(file, 'utf8').trim().split('\n')) {
      const s = JSON.parse(l) as { epoch: string; bytes: number }
      last.set(s.epoch, s.bytes)
    }
    return sum + [...last.values()].reduce((a, b) => a + b, 0)
  }, 0)
}

async function sentToServer(w: World): Promise<number> {
  const all = await Promise.all(NODES.map((n) => w.lab.bytes(n)))
  return all.reduce((sum, b) => sum + b.sent, 0)
}

