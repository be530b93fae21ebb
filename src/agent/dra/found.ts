/** Device nodes under `/dev` that a node offers to pods: the rules of its settings, and what of them is there now. */
import { glob, readFile, readlink, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { DeviceAttribute } from '../../api/gen/types.ts'
import { labelKeyErrors } from '../../api/names.ts'
import { AppError } from '../../base/errors.ts'

/** One setting: devices offered to claims, or (with a name) as an extended resource; a number stands for something without a device node. */
export interface DeviceRule {
  readonly resource: string | undefined
  readonly pattern: string | undefined
  readonly count: number
}

/** One device node that is there. */
export interface FoundDevice {
  /** Its name in the node's ResourceSlice. */
  readonly name: string
  readonly path: string
  /** Set when it is given out as that resource, and not to claims. */
  readonly resource: string | undefined
  readonly attributes: Readonly<Record<string, DeviceAttribute>>
}

/** Most characters of an attribute. */
const MAX_VALUE = 64
/** How far up the tree of sysfs a serial number is looked for: interface, device, hub. */
const MAX_PARENTS = 6
/** What a USB device says of itself. */
const DESCRIBED: Readonly<Record<string, string>> = { serial: 'serial', idVendor: 'vendorId', idProduct: 'productId', manufacturer: 'manufacturer', product: 'product' }

/** Reads `/dev/video*`, `example.com/video=/dev/video*` or `example.com/dongle=2`. @throws AppError `invalid` naming the setting */
export function parseDeviceRule(text: string): DeviceRule {
  const no = (why: string): AppError => new AppError('invalid', `read settings: --device "${text}" ${why}: write /dev/video*, example.com/video=/dev/video* or example.com/dongle=2`)
  const [left, right] = text.includes('=') ? [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)] : [undefined, text]
  if (left !== undefined && (!left.includes('/') || labelKeyErrors(left).length > 0 || /(^|\.)kubernetes\.io\//.test(left) || left.startsWith('requests.'))) throw no('does not begin with the name of an extended resource')
  if (left !== undefined && /^\d{1,4}$/.test(right)) return { resource: left, pattern: undefined, count: Number(right) }
  if (!right.startsWith('/dev/') || right.includes('/..') || right.endsWith('/')) throw no('names nothing under /dev')
  return { resource: left, pattern: right, count: 0 }
}

/** The device nodes that the rules mean, by path; one that several rules mean goes by the first. */
export async function findDevices(rules: readonly DeviceRule[], sys = '/sys'): Promise<FoundDevice[]> {
  const found = new Map<string, FoundDevice>()
  const names = new Set<string>()
  for (const { pattern, resource } of rules) {
    if (pattern === undefined) continue
    const matched: string[] = []
    for await (const path of glob(pattern)) matched.push(path)
    for (const link of matched.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))) {
      const path = await realpath(link).catch(() => undefined)
      const seen = path === undefined ? undefined : await stat(path).catch(() => undefined)
      // It may have been unplugged a moment ago, and directories are no devices.
      if (path === undefined || !seen || found.has(path) || !(seen.isCharacterDevice() || seen.isBlockDevice())) continue
      const type = seen.isBlockDevice() ? 'block' : 'char'
      const [major, minor] = [Number((BigInt(seen.rdev) >> 8n) & 0xfffn), (seen.rdev & 0xff) | ((seen.rdev >>> 12) & 0xfff00)]
      const plain = path.slice('/dev/'.length).toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 50)
      const name = names.has(plain) || plain === '' ? `${plain || 'device'}-${major}-${minor}` : plain
      names.add(name)
      const described = await describe(join(sys, 'dev', type, `${major}:${minor}`))
      const texts = { path, type, ...(link === path ? {} : { link }), ...described }
      const attributes: Record<string, DeviceAttribute> = { major: { int: major }, minor: { int: minor } }
      for (const [key, value] of Object.entries(texts)) if (value !== '' && value.length <= MAX_VALUE) attributes[key] = { string: value }
      found.set(path, { name, path, resource, attributes })
    }
  }
  return [...found.values()]
}

/** Subsystem and identity as sysfs has them; empty for what it does not know. */
async function describe(entry: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  const subsystem = await readlink(join(entry, 'subsystem')).catch(() => undefined)
  if (subsystem !== undefined) found['subsystem'] = basename(subsystem)
  let at = await realpath(join(entry, 'device')).catch(() => undefined)
  for (let i = 0; at !== undefined && i < MAX_PARENTS && at.includes('/devices/'); i++, at = dirname(at)) {
    for (const [file, name] of Object.entries(DESCRIBED)) {
      if (found[name] === undefined) found[name] = (await readFile(join(at, file), 'utf8').catch(() => '')).trim()
      if (found[name] === '') delete found[name]
    }
    if (found['vendorId'] !== undefined) break
  }
  return found
}
