/**
 * Brings a container's image: pull policy, credentials, a limit on parallel pulls, backoff, and Events in the kubelet's
 * words. An image that is present starts even when `Always` cannot reach a registry: the node carries on, and says so.
 * Pulls of one reference are shared. The queue is bounded by the containers of this node's pods.
 */
import type { Container as ContainerSpec, Pod } from '../api/gen/types.ts'
import { abortable } from '../base/abort.ts'
import type { Clock } from '../base/clock.ts'
import { AppError, hasCode, isAbort, messageOf } from '../base/errors.ts'
import type { ImageInfo, Runtime } from '../cri/mod.ts'
import { formatReference, parseReference } from '../images/mod.ts'
import type { ConfigReader } from './objects.ts'
import { stepDelay } from './pods/backoff.ts'

/** With the image present and the server away, how long `Always` looks for a newer one, ms. */
const OFFLINE_LOOK_MS = 2_000
/** Cut off, and after a registry could not be reached: `Always` does not ask it again for images that are present, ms. */
const UNREACHABLE_MS = 60_000

export type SayEvent = (type: 'Normal' | 'Warning', reason: string, message: string) => void

/** A container cannot get its image now; `reason` is what its status shows. */
export class ImageFailure extends Error {
  readonly reason: 'ErrImagePull' | 'ImagePullBackOff' | 'ErrImageNeverPull' | 'InvalidImageName'
  /** Not to be tried again before, ms wall clock. */
  readonly retryAtMs: number
  constructor(reason: ImageFailure['reason'], message: string, retryAtMs: number) {
    super(message)
    this.name = 'ImageFailure'
    this.reason = reason
    this.retryAtMs = retryAtMs
  }
}

export interface ImagesOptions {
  readonly runtime: Runtime
  readonly clock: Clock
  readonly parallel: number
  readonly online: () => boolean
  /** An image has come. */
  readonly onPulled?: () => void
}

export interface ImageRequest {
  readonly pod: Readonly<Pod>
  readonly spec: ContainerSpec
  readonly config: ConfigReader
  readonly say: SayEvent
  /** Failed pulls of this image for this pod before this try. */
  readonly failures: number
  readonly signal: AbortSignal
}

/** The image side of one node; see the header. Pulls wait for each other beyond `parallel`, in order. */
export class Images {
  readonly #options: ImagesOptions
  readonly #unreachable = new Map<string, number>()
  #free: number
  readonly #queue: (() => void)[] = []
  /** Pulls under way, by reference and login; bounded by `parallel`. */
  readonly #shared = new Map<string, { readonly over: AbortController; waiting: number; readonly done: Promise<string> }>()
  /** Pulls under way, by whole reference: told when the server has not got the image. */
  readonly #pulling = new Map<string, Set<() => void>>()

  constructor(options: ImagesOptions) {
    this.#options = options
    this.#free = options.parallel
  }

  /** Resolves when the image is there. @throws ImageFailure, or the signal's reason */
  async ensure(request: ImageRequest): Promise<ImageInfo> {
    const { spec, say } = request
    const image = spec.image ?? ''
    const now = this.#options.clock.now()
    const reference = nameOf(image)
    if (reference instanceof Error) {
      const message = `Failed to apply default image tag "${image}": ${messageOf(reference)}: correct the container's image`
      say('Warning', 'InspectFailed', message)
      throw new ImageFailure('InvalidImageName', message, now + stepDelay(request.failures + 1))
    }
    const policy = spec.imagePullPolicy ?? (/(:latest|\/[^:]+|^[^:/]+)$/.test(image) ? 'Always' : 'IfNotPresent')
    const present = await this.#options.runtime.images.find(image)
    if (present && (policy !== 'Always' || this.#knownUnreachable(image))) {
      if (policy !== 'Always') say('Normal', 'Pulled', `Container image "${image}" already present on machine`)
      return present
    }
    if (policy === 'Never') {
      const message = `Container image "${image}" is not present with pull policy of Never: set imagePullPolicy to IfNotPresent, and bring the image to the server with \`skerry image import\``
      say('Warning', 'ErrImageNeverPull', message)
      throw new ImageFailure('ErrImageNeverPull', message, now + stepDelay(1))
    }
    const tell = (): void => say('Normal', 'NotOnServer', `Image "${image}" is not on the server, asking its registry ${registryOf(image)}; \`skerry image import\` brings it to the server`)
    const telling = this.#pulling.get(reference) ?? new Set()
    this.#pulling.set(reference, telling.add(tell))
    try {
      return await this.#pull(image, present, request)
    } finally {
      telling.delete(tell)
      if (telling.size === 0) this.#pulling.delete(reference)
    }
  }

  /** The server has said that it has no image of this reference: those who wait for it are told where it is looked for now. */
  notOnServer(reference: string): void {
    const name = nameOf(reference)
    const telling = name instanceof Error ? undefined : this.#pulling.get(name)
    for (const tell of telling ?? []) tell()
  }

  async #pull(image: string, present: ImageInfo | undefined, request: ImageRequest): Promise<ImageInfo> {
    const { say, signal } = request
    const { clock, runtime, online } = this.#options
    const waited = clock.monotonic()
    await this.#enter(signal)
    const began = clock.monotonic()
    const limit = new AbortController()
    // Without the server, a present image waits only a moment for a registry that is probably out of reach too.
    const timer = present && !online() ? clock.timer('offline pull', OFFLINE_LOOK_MS, () => limit.abort(new AppError('unavailable', `pull image "${image}": the node is cut off`))) : undefined
    try {
      if (present && this.#knownUnreachable(image)) return present
      say('Normal', 'Pulling', `Pulling image "${image}"`)
      const auth = await credentials(request, image)
      const cut = AbortSignal.any([signal, limit.signal])
      const id = await this.#together(image, auth, cut)
      const info = await runtime.images.find(image)
      this.#options.onPulled?.()
      const took = (ms: number): string => `${(ms / 1000).toFixed(3).replace(/\.?0+$/, '')}s`
      const end = clock.monotonic()
      say('Normal', 'Pulled', `Successfully pulled image "${image}" in ${took(end - began)} (${took(end - waited)} including waiting). Image size: ${info?.sizeBytes ?? 0} bytes.`)
      this.#unreachable.delete(registryOf(image))
      return info ?? { id, tags: [image], digests: [], sizeBytes: 0, user: '', pinned: false }
    } catch (error) {
      if (signal.aborted) throw error
      if (present && !refused(error)) {
        this.#unreachable.set(registryOf(image), clock.monotonic())
        say('Warning', 'RegistryUnreachable', `No registry can be reached for image "${image}", starting the one present on this machine (${present.id}): ${messageOf(error)}`)
        return present
      }
      const message = `failed to pull image "${image}": ${messageOf(error)}: bring it to the server with \`skerry image import\`, or correct its name`
      say('Warning', 'Failed', `F${message.slice(1)}`)
      say('Warning', 'Failed', 'Error: ErrImagePull')
      throw new ImageFailure('ErrImagePull', message, clock.now() + stepDelay(request.failures + 1))
    } finally {
      timer?.cancel()
      this.#leave()
    }
  }

  /** One pull for all who ask for the same with the same login while it goes on; it ends early when nobody waits for it any more. */
  async #together(image: string, auth: { username: string; password: string } | undefined, signal: AbortSignal): Promise<string> {
    const key = JSON.stringify([image, auth?.username, auth?.password])
    let one = this.#shared.get(key)
    if (!one) {
      const over = new AbortController()
      one = { over, waiting: 0, done: this.#options.runtime.images.pull(image, auth, over.signal) }
      this.#shared.set(key, one)
    }
    one.waiting++
    try {
      return await abortable(one.done, signal)
    } finally {
      // Whoever asks from now on asks anew.
      if (--one.waiting === 0 || !signal.aborted) {
        if (this.#shared.get(key) === one) this.#shared.delete(key)
      }
      if (one.waiting === 0) one.over.abort()
    }
  }

  #knownUnreachable(image: string): boolean {
    const at = this.#unreachable.get(registryOf(image))
    return at !== undefined && !this.#options.online() && this.#options.clock.monotonic() - at < UNREACHABLE_MS
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#free > 0) return void this.#free--
    await new Promise<void>((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const onAbort = (): void => {
        const at = this.#queue.indexOf(go)
        if (at >= 0) this.#queue.splice(at, 1)
        reject(signal.reason)
      }
      this.#queue.push(go)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #leave(): void {
    const next = this.#queue.shift()
    if (next) next()
    else this.#free++
  }
}

/** The registry answered and said no; anything else means it could not be asked. */
function refused(error: unknown): boolean {
  return !isAbort(error) && (['unauthorized', 'forbidden', 'invalid', 'corrupt'] as const).some((code) => hasCode(error, code))
}

/** The whole reference of an image, or why it is none. */
function nameOf(image: string): string | Error {
  try {
    return formatReference(parseReference(image))
  } catch (error) {
    return error as Error
  }
}

/** Registry host of a reference, as docker configurations name it. */
function registryOf(image: string): string {
  const first = image.split('/')[0] as string
  return image.includes('/') && (first.includes('.') || first.includes(':') || first === 'localhost') ? first : 'docker.io'
}

/** Login from the pod's imagePullSecrets; undefined when none fits. A broken Secret is skipped: the pull says what is missing. */
async function credentials(request: ImageRequest, image: string): Promise<{ username: string; password: string } | undefined> {
  const host = registryOf(image)
  for (const ref of request.pod.spec?.imagePullSecrets ?? []) {
    const content = await request.config.read('Secret', ref.name ?? '').catch(() => undefined)
    const text = (content?.get('.dockerconfigjson') ?? content?.get('.dockercfg'))?.toString('utf8')
    if (text === undefined) continue
    try {
      const parsed = JSON.parse(text) as Record<string, unknown>
      const auths = (parsed['auths'] ?? parsed) as Record<string, { username?: string; password?: string; auth?: string }>
      for (const [where, login] of Object.entries(auths)) {
        const name = where.replace(/^https?:\/\//, '').split('/')[0] as string
        if (name !== host && !(host === 'docker.io' && name.endsWith('docker.io'))) continue
        const [user, ...rest] = login.auth ? Buffer.from(login.auth, 'base64').toString('utf8').split(':') : [login.username, login.password ?? '']
        if (user) return { username: user, password: rest.join(':') }
      }
    } catch {
      // Not JSON: as good as no Secret, and the registry's refusal will say that a login is missing.
    }
  }
  return undefined
}
