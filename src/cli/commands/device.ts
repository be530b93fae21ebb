/** `skerry device get|set|watch`: devices from the command line, by the names of their properties. */
import { AppError, hasCode } from '../../base/errors.ts'
import type { ResourceClient } from '../../client/mod.ts'
import type { DeviceModelObject, DeviceObject } from '../../devices/mod.ts'
import { adminClient } from '../admin.ts'
import { DATA_DIR, dataDirOf, type Command, type CommandContext } from '../command.ts'
import type { Flag } from '../config.ts'
import { table } from './token.ts'

const FLAGS: readonly Flag[] = [
  DATA_DIR,
  { name: 'kubeconfig', type: 'string', value: 'PATH', help: 'how to reach the server (default: the admin kubeconfig in the data directory)' },
  { name: 'namespace', type: 'string', value: 'NAME', help: 'namespace of the device', default: 'default' },
]

interface Row {
  readonly property: string
  readonly desired: string
  readonly reported: string
}

/** Desired and reported values of a device, property by property. */
export function rowsOf(device: DeviceObject): Row[] {
  const twins = new Map((device.status?.twins ?? []).map((t) => [t.propertyName, t]))
  return (device.spec?.properties ?? []).map((p) => ({
    property: p.name,
    desired: show(p.desired?.value),
    reported: show(twins.get(p.name)?.reported?.value),
  }))
}

const show = (value: unknown): string => (value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value))

type Models = ResourceClient<DeviceModelObject>

async function withDevices(context: CommandContext, fn: (devices: ResourceClient<DeviceObject>, namespace: string, models: Models) => Promise<void>): Promise<void> {
  const { settings } = context
  const { DEVICES, DEVICE_MODELS } = await import('../../devices/mod.ts')
  const admin = adminClient(dataDirOf(settings), settings['kubeconfig'] as string | undefined)
  try {
    await fn(admin.client.resource<DeviceObject>(DEVICES), String(settings['namespace']), admin.client.resource<DeviceModelObject>(DEVICE_MODELS))
  } finally {
    admin.close()
  }
}

/** @throws AppError `invalid` when the model does not allow the value; a model that is not there allows any */
async function checkValue(device: DeviceObject, at: number, value: string, models: Models): Promise<void> {
  const { mergeDevice } = await import('../../devices/mod.ts')
  const model = await models.get(device.spec?.deviceModelRef?.name ?? '', device.metadata?.namespace ?? '').catch((error: unknown) => {
    if (hasCode(error, 'not-found')) return undefined
    throw error
  })
  const property = device.spec?.properties?.[at]
  if (!model || !property) return
  const one = { ...device, spec: { ...device.spec, properties: [{ ...property, desired: { ...property.desired, value } }] } }
  const mistake = mergeDevice(one, model).mistakes.find((m) => m.reason === 'DesiredInvalid' || m.reason === 'PropertyUnknown')
  if (mistake) throw new AppError('invalid', `device set: ${mistake.message}`)
}

function nameOf(args: readonly string[], what: string): string {
  const name = args[0]
  if (name === undefined) throw new AppError('invalid', `device ${what}: name the device, as in \`skerry device ${what} cam-1\``)
  return name
}

export const deviceCommands: readonly Command[] = [
  {
    name: 'device get',
    usage: 'NAME [PROPERTY]',
    help: 'state and values of a device',
    flags: FLAGS,
    run: (context) =>
      withDevices(context, async (devices, namespace) => {
        const device = await devices.get(nameOf(context.args, 'get'), namespace)
        const rows = rowsOf(device)
        const property = context.args[1]
        if (property !== undefined) {
          const row = rows.find((r) => r.property === property)
          if (!row) throw new AppError('not-found', `device get: "${property}" is not one of ${rows.map((r) => r.property).join(', ')}`)
          context.print(row.reported)
          return
        }
        context.print(`${device.metadata?.name}: ${device.status?.state ?? 'unknown'}, last seen ${device.status?.lastOnlineTime ?? 'never'}`)
        const invalid = device.status?.conditions?.find((c) => c.type === 'Valid' && c.status === 'False')
        if (invalid) context.print(`not valid: ${invalid.message}`)
        context.print(table([['PROPERTY', 'DESIRED', 'REPORTED'], ...rows.map((r) => [r.property, r.desired, r.reported])]))
      }),
  },
  {
    name: 'device set',
    usage: 'NAME PROPERTY VALUE',
    help: "change a property's desired value",
    flags: FLAGS,
    run: (context) =>
      withDevices(context, async (devices, namespace, models) => {
        const name = nameOf(context.args, 'set')
        const [, property, value] = context.args
        if (property === undefined || value === undefined) throw new AppError('invalid', 'device set: give property and value, as in `skerry device set cam-1 fps 8`')
        const device = await devices.get(name, namespace)
        const properties = device.spec?.properties ?? []
        const at = properties.findIndex((p) => p.name === property)
        if (at < 0) throw new AppError('not-found', `device set: "${property}" is not one of ${properties.map((p) => p.name).join(', ')}`)
        await checkValue(device, at, value, models)
        const patch = [
          { op: 'test', path: `/spec/properties/${at}/name`, value: property },
          { op: 'add', path: `/spec/properties/${at}/desired`, value: { ...properties[at]?.desired, value } },
        ]
        await devices.patch(name, namespace, patch, 'json')
        context.print(`${name}: ${property} set to ${value}`)
      }),
  },
  {
    name: 'device watch',
    usage: 'NAME',
    help: "follow a device's state and values",
    flags: FLAGS,
    run: (context) =>
      withDevices(context, async (devices, namespace) => {
        const name = nameOf(context.args, 'watch')
        const first = await devices.get(name, namespace)
        let last = ''
        const tell = (device: DeviceObject): void => {
          const line = [device.status?.state ?? 'unknown', ...rowsOf(device).filter((r) => r.reported !== '').map((r) => `${r.property}=${r.reported}`)].join(' ')
          if (line !== last) context.print(`${new Date().toISOString()} ${line}`)
          last = line
        }
        tell(first)
        const from = first.metadata?.resourceVersion
        const query = { namespace, fieldSelector: `metadata.name=${name}`, ...(from === undefined ? {} : { resourceVersion: from }) }
        for await (const event of devices.watch(query, context.signal)) {
          if (event.type === 'DELETED') throw new AppError('not-found', `device watch: "${name}" was deleted`)
          if (event.type !== 'BOOKMARK') tell(event.object)
        }
      }),
  },
]
