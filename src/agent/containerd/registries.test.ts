import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { hostsFiles, loginsToml, NO_REGISTRIES, parseRegistries } from './registries.ts'

const CAPABLE = '  capabilities = ["pull", "resolve"]\n'
const MIRROR = 'http://127.0.0.1:5010'
const files = (text: string, mirror: string | undefined = MIRROR): Record<string, string> => Object.fromEntries(hostsFiles(parseRegistries(text, '/r.yaml'), mirror))

test('the mirror of the server is asked first; without one registries are asked directly', () => {
  assert.deepEqual(Object.fromEntries(hostsFiles(NO_REGISTRIES, MIRROR)), { _default: `[host."${MIRROR}"]\n${CAPABLE}` })
  assert.deepEqual(Object.fromEntries(hostsFiles(NO_REGISTRIES, undefined)), { _default: '' })
  for (const text of ['', '# nothing\n', 'mirrors:\nconfigs:\n', '{}']) assert.deepEqual(files(text), { _default: `[host."${MIRROR}"]\n${CAPABLE}` }, text)
})

test('mirrors in order, "*" for the registries that are not named, each with its own TLS', () => {
  const text = `
mirrors:
  docker.io: {endpoint: ["https://one.example:5000", "http://two.example", "three.example/proxy/v2"]}
  "*": {endpoint: ["https://any.example"]}
configs:
  one.example:5000: {tls: {ca_file: /etc/hostname, insecure_skip_verify: true}}
  own.example: {tls: {cert_file: /etc/hostname, key_file: /etc/hosts}}
`
  assert.deepEqual(files(text), {
    'docker.io': `[host."${MIRROR}"]\n${CAPABLE}[host."https://one.example:5000"]\n${CAPABLE}  ca = "/etc/hostname"\n  skip_verify = true\n[host."http://two.example"]\n${CAPABLE}[host."https://three.example/proxy/v2"]\n${CAPABLE}  override_path = true\n`,
    _default: `[host."${MIRROR}"]\n${CAPABLE}[host."https://any.example"]\n${CAPABLE}`,
    'one.example:5000': `server = "https://one.example:5000"\nca = "/etc/hostname"\nskip_verify = true\n[host."${MIRROR}"]\n${CAPABLE}[host."https://any.example"]\n${CAPABLE}`,
    'own.example': `server = "https://own.example"\nclient = [["/etc/hostname", "/etc/hosts"]]\n[host."${MIRROR}"]\n${CAPABLE}[host."https://any.example"]\n${CAPABLE}`,
  })
})

test('endpoints that rename are reached through the agent', () => {
  const text = `mirrors: {"*": {endpoint: ["https://a.example", "https://b.example"], rewrite: {"^team/(.*)": "cache/\${1}"}}}`
  assert.deepEqual(files(text)['_default'], `[host."${MIRROR}"]\n${CAPABLE}[host."${MIRROR}/rewrite/any_0/v2"]\n${CAPABLE}  override_path = true\n[host."${MIRROR}/rewrite/any_1/v2"]\n${CAPABLE}  override_path = true\n`)
  const rule = parseRegistries(text, '/r.yaml').mirrors.get('*')?.rewrites[0]
  assert.equal('team/app'.replace(rule?.pattern ?? '', rule?.to ?? ''), 'cache/app')
})

test('logins go into containerd\'s own configuration', () => {
  assert.equal(loginsToml(NO_REGISTRIES), '')
  assert.equal(
    loginsToml(parseRegistries(`configs: {"r.example:5000": {auth: {username: edge, password: 'a"b\\c'}}, b: {auth: {identity_token: t}}, c: {tls: {insecure_skip_verify: true}}}`, '/r.yaml')),
    '\n[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example:5000".auth]\n  username = "edge"\n  password = "a\\"b\\\\c"\n\n[plugins."io.containerd.grpc.v1.cri".registry.configs."b".auth]\n  identitytoken = "t"\n',
  )
})

test('a mistake is told with file, key and value, a password never', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['mirrors:\n  docker.io: [', /"\/r\.yaml" is not valid YAML: .*\(\d:\d+\)/s],
    ['- a', /the file in "\/r\.yaml" is \["a"\], expected a mapping/],
    ['mirror: {}', /unknown key "mirror" in "\/r\.yaml", known there are mirrors, configs/],
    ['mirrors: {docker.io: {endpoints: []}}', /unknown key "mirrors\."docker\.io"\.endpoints" in "\/r\.yaml", known there are endpoint, rewrite/],
    ['mirrors: {docker.io: {endpoint: "https://a"}}', /mirrors\."docker\.io"\.endpoint in "\/r\.yaml" is "https:\/\/a", expected a list/],
    ['mirrors: {docker.io: {endpoint: ["ftp://a"]}}', /mirrors\."docker\.io"\.endpoint\[0\] in "\/r\.yaml" is "ftp:\/\/a", expected like https:/],
    ['mirrors: {"a b": {}}', /mirrors in "\/r\.yaml" is "a b", expected a registry like/],
    ['mirrors: {a: {rewrite: {"(": x}}}', /mirrors\."a"\.rewrite in "\/r\.yaml" is "\(", expected a regular expression/],
    ['configs: {a: {tls: {ca_file: /nowhere}}}', /configs\."a"\.tls\.ca_file in "\/r\.yaml" names "\/nowhere", which cannot be read \(ENOENT\)/],
    ['configs: {a: {tls: {cert_file: /etc/hostname}}}', /configs\."a"\.tls in .*expected both cert_file and key_file, or none/],
    ['configs: {a: {tls: {insecure_skip_verify: "yes"}}}', /insecure_skip_verify in "\/r\.yaml" is "yes", expected true or false/],
    ['configs: {a: {auth: {password: [s3cret]}}}', /^(?!.*s3cret).*configs\."a"\.auth\.password in "\/r\.yaml" is not a text/],
    ['configs: {"*": {}}', /configs in "\/r\.yaml" is "\*", expected a host/],
  ]
  for (const [text, want] of cases) assert.throws(() => parseRegistries(text, '/r.yaml'), (e: Error) => hasCode(e, 'invalid') && want.test(e.message) || assert.fail(`${text}: ${e.message}`))
})
