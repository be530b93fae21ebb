import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readInside } from '../volumes/inside.ts'
import { environment, type FileReader } from './env.ts'
import { envFileValue } from './env-file.ts'

const FILE = `# made at start

DB='address' # the database
  ENDPOINT='a=b $(X) \\n "c"'
LONG='first
  second
'
EMPTY=''
BARE= 'not this'
DB='later'
`

test('values stand between single quotes as they are, over several lines too', () => {
  const of = (name: string): string | undefined => envFileValue(FILE, name)
  assert.deepEqual([of('DB'), of('ENDPOINT'), of('LONG'), of('EMPTY'), of('BARE'), of('NONE')], ['address', 'a=b $(X) \\n "c"', 'first\n  second\n', '', '', undefined])
})

test('what is not of that form is refused by its line', () => {
  for (const [text, message] of [
    ["A='1'\nB", "at line 2: missing '='"],
    ["='1'", 'at line 1: empty variable name'],
    ["A = '1'", 'at line 1: whitespace before ='],
    ['A="1"', 'at line 1: value must be enclosed in single quotes'],
    ["A='1' x", 'at line 1: unexpected content after closing quote'],
    ["\nA='1\n2", 'starting at line 2: unclosed single quote'],
  ] as const) {
    assert.throws(() => envFileValue(text, 'Z'), { message: `invalid environment variable format ${message}` }, text)
  }
})

test('a variable from a file is set, left out when it is optional, or missed by name', async () => {
  const context = { pod: {}, hostIPs: [], podIPs: [], allocatable: {} }
  const of = async (key: string, optional: boolean, files: FileReader): Promise<string | undefined> =>
    (await environment({ name: 'c', env: [{ name: 'V', valueFrom: { fileKeyRef: { volumeName: 'v', path: 'a.env', key, optional } } }] }, context, { read: async () => undefined }, {}, files)).get('V')
  const files: FileReader = async (volume, path) => (volume === 'v' && path === 'a.env' ? FILE : undefined)
  assert.deepEqual([await of('DB', false, files), await of('NONE', true, files), await of('DB', true, async () => undefined)], ['address', undefined, undefined])
  await assert.rejects(of('NONE', false, files), /couldn't find key NONE in file a.env of volume v/)
  await assert.rejects(of('DB', false, async () => undefined), /couldn't find file a.env in volume v/)
  await assert.rejects(of('DB', true, async () => 'DB=plain'), /line 1: value must be enclosed/)
})

test('nothing but a small file of the volume itself is read', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'dr-inside-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const root = join(dir, 'volume')
  await mkdir(join(root, 'sub'), { recursive: true })
  await writeFile(join(root, 'sub/a.env'), FILE)
  await writeFile(join(dir, 'secret'), "A='1'")
  await symlink('sub/a.env', join(root, 'link'))
  await symlink('../secret', join(root, 'out'))
  await symlink('..', join(root, 'up'))
  execFileSync('mkfifo', [join(root, 'pipe')])
  await writeFile(join(root, 'big'), '')
  await truncate(join(root, 'big'), 2 << 20)
  assert.deepEqual([await readInside(root, 'sub/a.env'), await readInside(root, 'link'), await readInside(root, 'none'), await readInside(root, 'sub/a.env/none')], [FILE, FILE, undefined, undefined])
  for (const [path, why] of [['out', /a link leads out/], ['up/secret', /a link leads out/], ['../secret', /must be relative/], ['/etc/passwd', /must be relative/], ['pipe', /not a file/], ['sub', /not a file/], ['big', /2097152 bytes/]] as const) {
    await assert.rejects(readInside(root, path), why, path)
  }
})
