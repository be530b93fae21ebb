// The reviewer's page: shows each violation as it comes and takes the reviewer's decision. Talks to the collector with the
// reviewer's own Kubernetes token, kept in this tab only; what it may do is decided by RBAC on the server.
const NAMESPACE = location.pathname.split('/')[2] ?? 'default'
const BASE = `/collect/v1/namespaces/${NAMESPACE}/streams/violations/records`
const $ = (id) => document.getElementById(id)
const records = new Map()
let token = sessionStorage.getItem('token') ?? ''
let filter = ''
let watching

const call = (path, options = {}) => fetch(path, { ...options, headers: { authorization: `Bearer ${token}`, ...options.headers } })

async function messageOf(answer) {
  try {
    return (await answer.json()).message ?? `status ${answer.status}`
  } catch {
    return `status ${answer.status}`
  }
}

async function signIn() {
  const answer = await call(`${BASE}?limit=1`)
  if (!answer.ok) {
    $('problem').textContent = answer.status === 401 ? 'This token is not valid (or no longer): make a new one.' : await messageOf(answer)
    return
  }
  sessionStorage.setItem('token', token)
  $('sign-in').hidden = true
  $('cards').hidden = false
  $('who').replaceChildren(Object.assign(document.createElement('button'), { textContent: 'Sign out', onclick: signOut }))
  void watch()
}

function signOut() {
  sessionStorage.removeItem('token')
  location.reload()
}

/** Reads the live stream for as long as the page is open; after a break it goes on behind the last event seen. */
async function watch() {
  watching?.abort()
  watching = new AbortController()
  let last = ''
  for (;;) {
    try {
      const answer = await call(`${BASE}?watch=true`, { signal: watching.signal, headers: last ? { 'last-event-id': last } : {} })
      if (!answer.ok) throw new Error(await messageOf(answer))
      $('live').textContent = 'live'
      let rest = ''
      for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
        const events = (rest + text).split('\n\n')
        rest = events.pop()
        for (const event of events) {
          let data = ''
          for (const line of event.split('\n')) {
            if (line.startsWith('id:')) last = line.slice(3).trim()
            if (line.startsWith('data:')) data += line.slice(5)
          }
          if (data) take(JSON.parse(data))
        }
      }
    } catch (error) {
      if (watching.signal.aborted) return
      $('live').textContent = `connection lost (${error.message}), trying again`
    }
    await new Promise((resolve) => setTimeout(resolve, 1500))
  }
}

function take(record) {
  const known = records.get(record.id)
  records.set(record.id, { ...known, record })
  draw(record.id, !known)
  count()
}

const stateOf = (record) => record.review?.state ?? 'pending'

function draw(id, fresh) {
  const entry = records.get(id)
  const { record } = entry
  const state = stateOf(record)
  if (!entry.card) {
    entry.card = $('card').content.firstElementChild.cloneNode(true)
    $('cards').prepend(entry.card)
    for (const decision of ['approve', 'reject']) entry.card.querySelector(`.${decision}`).onclick = () => decide(id, decision)
    void photo(entry)
  }
  const { card } = entry
  card.className = `${state} ${fresh ? 'fresh' : ''}`
  card.querySelector('h3').textContent = record.data.place || record.data.camera
  const facts = {
    Time: new Date(record.timeMs ?? record.time).toLocaleString(),
    Camera: `${record.data.camera}, lane ${record.data.lane}`,
    Node: record.node,
    'Red for': `${(record.data.redForMs / 1000).toFixed(1)} s`,
    Record: record.id,
  }
  card.querySelector('dl').replaceChildren(...Object.entries(facts).flatMap(([k, v]) => [Object.assign(document.createElement('dt'), { textContent: k }), Object.assign(document.createElement('dd'), { textContent: v })]))
  const by = record.review?.by ? ` by ${record.review.by.replace('system:serviceaccount:', '')}` : ''
  card.querySelector('.state').textContent = state === 'approved' ? `Issued${record.issueNumber ? ` as no. ${record.issueNumber}` : ''}${by}` : state === 'rejected' ? `Rejected${by}` : 'To review'
  card.querySelector('.decide').hidden = state !== 'pending'
  card.hidden = filter !== '' && state !== filter
}

async function photo(entry) {
  const answer = await call(`${BASE}/${encodeURIComponent(entry.record.id)}/attachments/photo.jpg`)
  if (!answer.ok) return
  const url = URL.createObjectURL(await answer.blob())
  entry.card.querySelector('img').src = url
  entry.card.querySelector('img').alt = `Violation at ${entry.record.data.place}`
  entry.card.querySelector('.photo').href = url
}

async function decide(id, decision) {
  const { card } = records.get(id)
  const buttons = card.querySelectorAll('.decide button')
  buttons.forEach((b) => (b.disabled = true))
  const answer = await call(`${BASE}/${encodeURIComponent(id)}/review`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ decision }) })
  buttons.forEach((b) => (b.disabled = false))
  if (answer.ok) take(await answer.json())
  else card.querySelector('.state').textContent = await messageOf(answer)
}

function count() {
  const all = [...records.values()].map((e) => stateOf(e.record))
  $('n-all').textContent = all.length
  for (const s of ['pending', 'approved', 'rejected']) $(`n-${s}`).textContent = all.filter((x) => x === s).length
  $('empty').hidden = all.some((s) => filter === '' || s === filter)
}

for (const button of document.querySelectorAll('nav button')) {
  button.onclick = () => {
    filter = button.dataset.filter
    document.querySelectorAll('nav button').forEach((b) => b.classList.toggle('on', b === button))
    for (const id of records.keys()) draw(id, false)
    count()
  }
}
$('sign-in').onsubmit = (event) => {
  event.preventDefault()
  token = $('token').value.trim()
  $('problem').textContent = ''
  void signIn()
}
if (token) void signIn()
