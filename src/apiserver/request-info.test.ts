import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../base/errors.ts'
import { requestInfo } from './request-info.ts'

const info = (method: string, path: string) => {
  const [clean = '', query] = path.split('?')
  const i = requestInfo(method, clean, new URLSearchParams(query ?? ''))
  return i.isResource ? [i.verb, i.group, i.version, i.namespace ?? '', i.resource, i.name ?? '', i.subresource ?? ''].join(' ') : `${i.verb} ${i.path}`
}

test('paths say verb, resource and place as in Kubernetes', () => {
  assert.equal(info('GET', '/api/v1/namespaces/default/pods/web/log'), 'get  v1 default pods web log')
  assert.equal(info('GET', '/api/v1/pods?watch=true'), 'watch  v1  pods  ')
  assert.equal(info('GET', '/apis/apps/v1/watch/namespaces/x/deployments'), 'watch apps v1 x deployments  ')
  assert.equal(info('DELETE', '/apis/apps/v1/namespaces/x/deployments'), 'deletecollection apps v1 x deployments  ')
  assert.equal(info('PUT', '/api/v1/namespaces/x/finalize'), 'update  v1 x namespaces x finalize')
  assert.equal(info('GET', '/api/v1/namespaces/x'), 'get  v1 x namespaces x ')
  assert.equal(info('GET', '/apis/apps/v1'), 'get /apis/apps/v1')
  assert.equal(info('POST', '/healthz'), 'create /healthz')
  for (const path of ['/api/v1/pods//log', '/api/v1/namespaces//pods', '/api/v1/namespaces/default//x']) assert.equal(info('GET', path), `get ${path}`, 'names nothing')
})

test('encoded slashes, dots, NUL and broken encodings are refused', () => {
  for (const path of ['/api/v1/namespaces/default/pods/a%2Flog', '/api/v1/namespaces/default%2Fpods/x', '/api/v1/namespaces/%2e%2e/secrets', '/api/v1/pods/%00', '/api/v1/pods/%zz']) {
    assert.throws(() => info('GET', path), (e) => e instanceof AppError && e.code === 'invalid')
  }
})
