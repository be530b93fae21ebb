import assert from 'node:assert/strict'
import { test } from 'node:test'
import { breaches, drawing } from './check-layers.ts'

test('a planted breach of the arrows is found with the reason', () => {
  assert.match(breaches('src/store/x.ts', `import { a } from '../api/meta.ts'`)[0] ?? '', /"store" may not import "api".*cannot be swapped/)
  assert.match(breaches('src/client/x.ts', `const m = await import('../apiserver/mod.ts')`)[0] ?? '', /"client" may not import "apiserver"/)
})

test('an area is entered through its mod.ts, base and api file by file', () => {
  assert.match(breaches('src/agent/x.ts', `import { a } from '../client/cache.ts'`)[0] ?? '', /import its mod.ts/)
  assert.deepEqual(breaches('src/agent/x.ts', `import { a } from '../client/mod.ts'\nimport { b } from '../api/meta.ts'`), [])
})

test('an area without a row is named', () => {
  assert.match(breaches('src/extra/x.ts', '')[0] ?? '', /no row/)
})

test('the drawing has every area', () => {
  assert.match(drawing(), /\[ cli \][\s\S]*\[ base \]/)
})
