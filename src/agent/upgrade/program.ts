/**
 * The installed program on disk: two places `a` and `b`, the link `current` to the one in use, and what is known of an upgrade. `script/start.sh`
 * (copied beside them as `start`, part of neither) reads and writes the same files, so they are lines of `name=value`.
 *
 * - `trial`: the place in use has yet to prove itself; `from` is the one to go back to. Written before the link is turned.
 * - `trial.starts`: a line for each start on trial, by the start script.
 * - `failed`: the last release that was given up, and why. Written before the link is turned back.
 *
 * Whatever moment the power goes: either place is whole, and `current` names one of them.
 */
import { readlink, rename, rm, symlink } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { readFileIfAny, syncDirectory, writeFileAtomic } from '../../base/atomic-file.ts'
import type { Offer } from '../../base/release.ts'

export type Place = 'a' | 'b'

export interface Trial {
  readonly from: Place
  readonly to: Place
  readonly id: string
  readonly version: string
  /** How long it may take to prove itself, s; the start script ends what takes twice as long. */
  readonly seconds: number
}

export interface Failed {
  readonly id: string
  readonly version: string
  readonly why: string
  /** When, ms since 1970; 0 when the start script gave it up. */
  readonly atMs: number
  /** It had no link to the server: perhaps no fault of its own, so it may be tried again. */
  readonly again: boolean
}

/** One installed program; `root` of it, see the header. */
export class Program {
  readonly root: string
  readonly #place: Place

  private constructor(root: string, place: Place) {
    this.root = root
    this.#place = place
  }

  /** The installation of which the program in `place` is part; undefined when it is not one of an installation's two, like a checkout. */
  static async of(place: string): Promise<Program | undefined> {
    const [root, name] = [dirname(place), basename(place)]
    if ((name !== 'a' && name !== 'b') || !existsSync(join(root, 'start'))) return undefined
    return (await readlink(join(root, 'current')).catch(() => undefined)) === undefined ? undefined : new Program(root, name)
  }

  /** Where the running program is. */
  get place(): Place {
    return this.#place
  }

  /** Where the next one goes. */
  get other(): Place {
    return this.#place === 'a' ? 'b' : 'a'
  }

  path(place: Place): string {
    return join(this.root, place)
  }

  /** The trial of the running program; one of a turn that did not happen, or was taken back, is cleared away. */
  async trial(): Promise<Trial | undefined> {
    const text = await readFileIfAny(join(this.root, 'trial'))
    if (text === undefined) return undefined
    const v = values(text)
    if (v['to'] !== this.#place) {
      await this.#forgetTrial()
      return undefined
    }
    return { from: v['from'] === 'b' ? 'b' : 'a', to: this.#place, id: v['id'] ?? '', version: v['version'] ?? '', seconds: Number(v['seconds']) || 300 }
  }

  /** Puts what is in the other place on trial: the next start runs it. It must be on disk, synced. */
  async turn(offer: Offer, seconds: number): Promise<void> {
    await rm(join(this.root, 'trial.starts'), { force: true })
    await writeFileAtomic(join(this.root, 'trial'), lines({ from: this.#place, to: this.other, id: offer.id, version: offer.version, seconds: String(seconds) }), { mode: 0o644 })
    await this.#use(this.other)
  }

  /** The running program has proved itself. */
  async confirm(): Promise<void> {
    await rm(join(this.root, 'failed'), { force: true })
    await this.#forgetTrial()
  }

  /** Gives the running program up: the next start runs the one before. */
  async goBack(trial: Trial, why: string, nowMs: number, again: boolean): Promise<void> {
    await this.refuse({ id: trial.id, version: trial.version, why, atMs: nowMs, again })
    await this.#use(trial.from)
    await this.#forgetTrial()
  }

  async failed(): Promise<Failed | undefined> {
    const text = await readFileIfAny(join(this.root, 'failed'))
    if (text === undefined) return undefined
    const v = values(text)
    return { id: v['id'] ?? '', version: v['version'] ?? '', why: v['why'] ?? '', atMs: Number(v['at']) || 0, again: v['again'] === 'yes' }
  }

  /** Keeps that a release is not to be used. */
  async refuse(failed: Failed): Promise<void> {
    await writeFileAtomic(join(this.root, 'failed'), lines({ id: failed.id, version: failed.version, why: failed.why.replaceAll('\n', ' '), at: String(failed.atMs), again: failed.again ? 'yes' : 'no' }), { mode: 0o644 })
  }

  async forgive(): Promise<void> {
    await rm(join(this.root, 'failed'), { force: true })
  }

  async #forgetTrial(): Promise<void> {
    await rm(join(this.root, 'trial'), { force: true })
    await rm(join(this.root, 'trial.starts'), { force: true })
    await syncDirectory(this.root)
  }

  async #use(place: Place): Promise<void> {
    const next = join(this.root, 'current.new')
    await rm(next, { force: true })
    await symlink(place, next)
    await rename(next, join(this.root, 'current'))
    await syncDirectory(this.root)
  }
}

const lines = (values: Readonly<Record<string, string>>): string => Object.entries(values).map(([k, v]) => `${k}=${v}\n`).join('')

function values(text: string): Record<string, string> {
  return Object.fromEntries(text.split('\n').filter((l) => l.includes('=')).map((l) => [l.slice(0, l.indexOf('=')), l.slice(l.indexOf('=') + 1)]))
}
