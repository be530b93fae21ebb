import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../base/errors.ts'
import { KINDS } from './kinds.ts'
import { alreadyExists, badRequest, conflict, expired, fieldInvalid, fieldNotSupported, fieldRequired, forbidden, fromStatus, invalid, notFound, toStatus } from './status.ts'

test('refusals carry the texts of Kubernetes', () => {
  assert.equal(notFound(KINDS.Pod, 'web').message, 'pods "web" not found')
  assert.equal(notFound(KINDS.Deployment, 'web').message, 'deployments.apps "web" not found')
  assert.equal(alreadyExists(KINDS.Pod, 'web').message, 'pods "web" already exists')
  assert.match(conflict(KINDS.Deployment, 'web').message, /^Operation cannot be fulfilled on deployments\.apps "web": the object has been modified/)
  assert.equal(forbidden(KINDS.Pod, 'web', 'no').message, 'pods "web" is forbidden: no')
  assert.equal(forbidden(KINDS.Pod, '', 'no').message, 'pods is forbidden: no')
  assert.deepEqual(notFound(KINDS.Deployment, 'web').status, {
    kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: 'deployments.apps "web" not found', reason: 'NotFound',
    details: { name: 'web', group: 'apps', kind: 'deployments' }, code: 404,
  })
})

test('an invalid object names each cause', () => {
  const e = invalid(KINDS.Deployment, 'web', [fieldRequired('spec.selector'), fieldInvalid('spec.replicas', -1, 'must be greater than or equal to 0')])
  assert.equal(e.message, 'Deployment.apps "web" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]')
  assert.deepEqual(e.status.details?.causes?.[0], { reason: 'FieldValueRequired', message: 'Required value', field: 'spec.selector' })
  assert.equal(invalid(KINDS.Pod, 'p', [fieldNotSupported('a', 'x', ['c', 'b'])]).message, 'Pod "p" is invalid: a: Unsupported value: "x": supported values: "c", "b"')
})

test('a Status goes over the wire and comes back as the same error', () => {
  for (const e of [notFound(KINDS.Pod, 'a'), conflict(KINDS.Pod, 'a'), expired(), badRequest('no')]) {
    const back = fromStatus(JSON.parse(JSON.stringify(e.status)))
    assert.equal(back.code, e.code)
    assert.equal(back.message, e.message)
    assert.equal(back.retryable, e.retryable)
  }
})

test('what goes wrong inside tells nothing of itself', () => {
  const status = toStatus(new Error('password=hunter2'))
  assert.equal(status.code, 500)
  assert.equal(JSON.stringify(status).includes('hunter2'), false)
  assert.equal(toStatus(new AppError('corrupt', 'row 5')).message?.includes('row 5'), false)
  assert.equal(toStatus(new AppError('invalid', 'found "x"')).code, 400)
  assert.equal(toStatus(new AppError('unavailable', 'disk')).code, 503)
  assert.equal(toStatus(new AppError('compacted', '')).reason, 'Expired')
})
