import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { RESOURCES } from '../../src/api/kinds.ts'
import { qualifiedResource } from '../../src/api/resource.ts'
import { kubectlTests } from '../kit/api-tls.ts'

const { skip, prints } = kubectlTests()
const data = (name: string): string => readFileSync(join(import.meta.dirname, 'data', name), 'utf8')
/** Kinds that exist without being made, or whose one object is shown by the other group or version. */
const ELSEWHERE = new Set(['componentstatuses', 'events', 'horizontalpodautoscalers.autoscaling', 'customresourcedefinitions.apiextensions.k8s.io'])

/** Ages, times and uids are the moment's; widths follow them. */
function steady(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, 'TIME')
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UID')
    .replaceAll(/(?<=[ \n])\d+[smhdy](\d+[smhd])?(?=\s)/g, 'AGE')
    .replaceAll(/ +$/gm, '')
    .replaceAll(/ {2,}/g, ' | ')
}

test('one object of every kind is shown as kubectl users know it', { skip, timeout: 60_000 }, async () => {
  await prints('apply -f -', data('kinds.yaml'))
  // What the server itself fills in a moment later.
  await prints('wait --for=condition=Available=False apiservice/v1.x.io --timeout=10s')
  await prints('wait --for=jsonpath={.status.used.limits\\.cpu}=4 resourcequota/x --timeout=10s')
  const shown = steady(await prints('get -o wide -f -', data('kinds.yaml')))
  assert.equal(shown.trim(), data('kinds.txt').trim())
  // Events have no place for the kind in front of their name, so they are not shown twice.
  const kinds = RESOURCES.filter((r) => r.verbs.includes('list') && !ELSEWHERE.has(qualifiedResource(r)))
  for (const r of kinds) assert.match(shown, new RegExp(`(^|\\s)${r.singular}${r.group === '' ? '' : `\\.${r.group.replaceAll('.', '\\.')}`}/`, 'm'), `${r.kind} is not in kinds.yaml`)
})

test('every kind can be listed in all namespaces, by its short names too, and described', { skip, timeout: 60_000 }, async () => {
  const listed = RESOURCES.filter((r) => r.verbs.includes('list'))
  const out = await prints(`get ${[...new Set(listed.map(qualifiedResource))].join(',')} -A -o name`)
  for (const name of ['pod/x', 'ingressclass.networking.k8s.io/x', 'resourceslice.resource.k8s.io/x', 'lease.coordination.k8s.io/x']) assert.ok(out.split('\n').includes(name), name)
  const short = [...new Set(listed.flatMap((r) => r.shortNames))]
  await prints(`get ${short.join(',')} -A -o name`)
  const described = await prints('describe -f -', data('kinds.yaml'))
  for (const line of [/Ingress Class: +x/, /Reclaim Policy: +Retain/, /PreemptionPolicy: +PreemptLowerPriority/, /Allowing ingress traffic:/]) assert.match(described, line)
})

test('every kind is explained, with all its fields', { skip, timeout: 120_000 }, async () => {
  const all = RESOURCES.filter((r) => r.verbs.includes('list'))
  const left = [...all]
  const worker = async (): Promise<void> => {
    for (let r = left.pop(); r; r = left.pop()) {
      const apiVersion = r.group === '' ? r.version : `${r.group}/${r.version}`
      const text = await prints(`explain ${r.resource} --api-version=${apiVersion} --recursive`)
      assert.match(text, new RegExp(`KIND: +${r.kind}\\n`))
      assert.match(text, /DESCRIPTION:\n +\S/, r.kind)
      assert.match(text, /\n {2}metadata\t<ObjectMeta>( -required-)?\n {4}annotations\t<map\[string\]string>\n/, r.kind)
    }
  }
  await Promise.all([worker(), worker()])
  // The published document of version 2 is read in protobuf by this form of explain.
  assert.match(await prints('explain deployment.spec.strategy --output=plaintext-openapiv2'), /RESOURCE: strategy <Object>[\s\S]*DeploymentStrategy describes how to replace existing pods[\s\S]*rollingUpdate\t<Object>/)
})
