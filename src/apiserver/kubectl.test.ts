import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kubectlTests } from '../../test/kit/api-tls.ts'

const { skip, ok, fails } = kubectlTests()

const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "app:1"}]}
`
const CRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  names: {plural: boats, kind: Boat, shortNames: [bt]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Masts, type: integer, jsonPath: .spec.masts}]
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {masts: {type: integer, description: How many masts it has.}}}}
`

test('apply, get, label, patch, set image, scale, describe and delete work as kubectl users know them', { skip, timeout: 60_000 }, async () => {
  assert.match(await ok('apply -f -', DEPLOYMENT), /deployment.apps\/web created/)
  assert.match(await ok('apply -f -', DEPLOYMENT), /unchanged/)
  assert.match(await ok('get deploy -o wide'), /web +0\/2 +0 +0 +\d+s +c +app:1 +app=web/)
  await ok('label deploy web tier=front')
  await ok('set image deploy/web c=app:2')
  await ok('scale deploy web --replicas=5')
  assert.equal(await ok('get deploy -l tier=front -o jsonpath={.items[0].spec.replicas}/{.items[0].spec.template.spec.containers[0].image}/{.items[0].metadata.generation}'), '5/app:2/3')
  assert.match(await ok('describe deploy web'), /Replicas: +5 desired/)
  assert.match(await ok('apply --server-side --force-conflicts -f -', DEPLOYMENT), /serverside-applied/)
  assert.match(await ok('delete deploy web'), /deleted/)
  assert.match(await fails('get deploy web'), /"web" not found/)
})

test('typed commands that send protobuf work too', { skip, timeout: 60_000 }, async () => {
  await ok('create namespace demo')
  await ok('-n demo create configmap a --from-literal=x=1')
  await ok('-n demo create deployment typed --image=app:1 --replicas=3')
  assert.equal(await ok('-n demo get deploy typed -o jsonpath={.spec.replicas}'), '3')
  assert.match(await ok('auth can-i create pods'), /yes/)
  assert.match(await fails('auth can-i create pods --as=bob'), /^$/)
  assert.match(await ok('auth whoami'), /admin/)
  await ok('-n demo create serviceaccount robot')
  assert.match(await ok('-n demo create token robot'), /^eyJ/)
  await ok('delete namespace demo --wait=false')
  assert.match(await fails('-n demo create configmap late'), /being terminated/)
})

test('explain, api-resources and validation know built-in kinds and new definitions', { skip, timeout: 60_000 }, async () => {
  assert.match(await ok('explain pod.spec.containers.image'), /Container image name/)
  assert.match(await ok('api-resources'), /deployments +deploy +apps\/v1 +true +Deployment/)
  await ok('apply -f -', CRD)
  await ok('wait --for=condition=Established crd/boats.example.com --timeout=5s')
  await ok('apply -f -', 'apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: b}\nspec: {masts: 3}\n')
  assert.match(await ok('get bt'), /NAME +MASTS\nb +3/)
  assert.match(await ok('explain boat.spec.masts'), /How many masts/)
  assert.match(await fails('apply -f -', 'apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: c}\nspec: {sails: 3}\n'), /unknown field "spec.sails"/)
  assert.match(await fails('apply -f -', DEPLOYMENT.replace('replicas', 'replica')), /unknown field "spec.replica"/)
  assert.match(await fails('create -f -', DEPLOYMENT.replace('replicas: 2', 'replicas: two')), /spec.replicas/)
  await ok('delete crd boats.example.com')
  assert.match(await fails('get bt'), /the server (doesn't have a resource type|could not find the requested resource)/)
})
