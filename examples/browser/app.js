/**
 * What a page of yours needs of this is `connect`: the stock client, a fresh token on every connect, and `socket.on` for each event.
 * The rest shows what happens and lets you break it.
 *
 * States: connecting -> live -> reconnecting (by itself) -> live; live -> cut (by the visitor) -> connecting;
 * any -> refused (the token was not accepted), ended (the application ended the session), unreachable (the demo server is gone): until the visitor acts.
 */
const page = new Proxy({}, { get: (_, id) => document.getElementById(id) })
const script = document.querySelector('script[src$="/socket.io/socket.io.js"]')
const bridge = new URL(script.src).origin
const bothTransports = ['websocket', 'polling']
const shownEvents = 200

let socket
/** Who the visitor wants to be. */
let wanted = { user: '42', rooms: ['news', 'order:*'] }
/** The login in use: { token, expiresAt }, as the application issued it. */
let login
let useExpired = false
/** Between the connect and `sidecast:ready` the bridge sends what was missed. */
let catchingUp = false
let cut = false
/** Of the login's end. */
let countdown
let ending
let rooms = new Set()
let received = 0
let cleared = false

function connect() {
  socket = io(bridge, {
    // Another user is another session: never the connection of the one before.
    forceNew: true,
    transports: page.polling.checked ? ['polling'] : bothTransports,
    tryAllTransports: true,
    // Called for every connect, so that a reconnect after hours does not present the token of this morning.
    auth: (send) => {
      currentToken().then(
        (token) => send({ token }),
        () => showUnreachable(),
      )
    },
  })

  socket.on('connect', () => {
    catchingUp = true
    // A refusal or an upgrade may come with another transport.
    socket.io.engine.on('upgrade', showTransport)
    showTransport()
  })

  // Your page: socket.on('order.updated', (data) => …). This one takes them all; the last argument is always the offset.
  socket.onAny((event, ...args) => {
    const offset = args.pop()
    showEvent(event, args[0], offset, catchingUp)
  })

  socket.on('sidecast:ready', (ready) => {
    catchingUp = false
    rooms = new Set(ready.rooms)
    showState('live')
    showSession(ready)
  })
  socket.on('sidecast:joined', ({ room }) => showRooms(rooms.add(room)))
  socket.on('sidecast:left', ({ room }) => rooms.delete(room) && showRooms())

  // Answered with a fresh token, the connection goes on; else it is closed at the end of the old one and comes back with a new one.
  socket.on('sidecast:expiring', refresh)

  socket.on('sidecast:disconnect', (end) => {
    ending = end
  })

  socket.on('disconnect', () => {
    const end = ending
    ending = undefined
    if (cut) showState('cut')
    else if (socket.active) showState('reconnecting')
    else if (end) showRefusal('ended', 'The session was ended', end)
  })

  socket.on('connect_error', (error) => {
    // Still active: the bridge could not be reached, and the client tries again by itself.
    if (socket.active) return showState('reconnecting')
    // Refused by the bridge: the client stops, and data says why and whether trying again can help.
    const { code = 'unknown', message = error.message, retry = false } = error.data ?? {}
    const demonstrated = useExpired
    login = undefined
    useExpired = false
    showRefusal('refused', 'The login was refused', { code, message: `${message}${reasonFor(code)}` })
    if (retry && !demonstrated) setTimeout(() => socket.active || cut || socket.connect(), 2_000 + Math.random() * 3_000)
  })

  showState('connecting')
}

async function currentToken() {
  if (useExpired) return (await askForLogin({ ...wanted, expired: true })).token
  if (login === undefined || login.expiresAt < Date.now() + 30_000) login = await askForLogin(wanted)
  return login.token
}

async function refresh() {
  const place = page['session-result']
  let fresh
  try {
    fresh = await askForLogin(wanted)
  } catch {
    return showResult(place, false, 'Not refreshed: the demo server did not answer. Is the quickstart still running?')
  }
  const answer = await ask('sidecast:refresh', { token: fresh.token })
  // Without an answer the next connection has a token of its own.
  if (!answer.ok) return showResult(place, false, `Not refreshed: ${answer.error.message} (${answer.error.code})`)
  login = fresh
  showResult(place, true, '')
  showExpiry(answer.expiresAt, ', refreshed')
}

/** The answer of the bridge, or one that says that there was none. */
const ask = (request, data) =>
  socket
    .timeout(10_000)
    .emitWithAck(request, data)
    .catch(() => ({ ok: false, error: { code: 'no_answer', message: 'There was no answer: is the connection up?' } }))

async function askForLogin(body) {
  const { ok, body: issued } = await post('/login', body)
  if (!ok) throw new Error(issued.title)
  return issued
}

async function post(path, body) {
  const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return { ok: response.ok, body: await response.json() }
}

/** Ends the connection without ending the session, and stays away until told otherwise. */
async function dropConnection() {
  socket.io.reconnection(false)
  if (!socket.connected) return
  const dropped = new Promise((resolve) => socket.once('disconnect', resolve))
  socket.io.engine.close()
  await dropped
}

function reconnect() {
  cut = false
  showState('connecting')
  socket.io.reconnection(true)
  socket.io.opts.transports = page.polling.checked ? ['polling'] : bothTransports
  socket.connect()
}

// What the visitor can do

page.cut.addEventListener('click', async () => {
  if (cut) return reconnect()
  cut = true
  await dropConnection()
  showState('cut')
})

page.polling.addEventListener('change', async () => {
  if (cut) return
  await dropConnection()
  reconnect()
})

page.expired.addEventListener('click', async () => {
  useExpired = true
  await dropConnection()
  reconnect()
})

page.refresh.addEventListener('click', refresh)

page['fresh-login'].addEventListener('click', () => {
  useExpired = false
  login = undefined
  reconnect()
})

page['login-form'].addEventListener('submit', (event) => {
  event.preventDefault()
  const patterns = page['login-rooms'].value.split(',').map((room) => room.trim())
  const user = page['login-user'].value.trim()
  if (user !== wanted.user) {
    cleared = false
    clearEvents()
  }
  wanted = { user, rooms: patterns.filter(Boolean) }
  page['login-user'].value = user
  proposeName()
  login = undefined
  cut = useExpired = false
  socket.offAny()
  socket.off()
  socket.disconnect()
  rooms = new Set()
  showRooms()
  showGrants()
  connect()
})

page['room-form'].addEventListener('submit', async (event) => {
  event.preventDefault()
  await askForRoom('sidecast:join', page.room.value.trim(), 'Joined')
})

async function askForRoom(request, room, done) {
  const answer = await ask(request, { room })
  const text = answer.ok ? `${done} ${room}.` : `${answer.error.message} (${answer.error.code})`
  showResult(page['room-result'], answer.ok, text)
}

for (const choice of document.querySelectorAll('[name=to]')) {
  choice.addEventListener('change', () => {
    page['name-field'].hidden = page['send-name'].disabled = choice.value === 'all'
    page['name-label'].textContent = choice.value === 'user' ? 'User' : 'Room'
    proposeName()
  })
}

/** Who is logged in, or a room that the login opens by its name. */
function proposeName() {
  const isUser = document.querySelector('[name=to]:checked').value === 'user'
  page['send-name'].value = isUser ? wanted.user : (wanted.rooms.find((room) => !room.includes('*')) ?? 'news')
}

page['send-form'].addEventListener('submit', async (submitted) => {
  submitted.preventDefault()
  const kind = document.querySelector('[name=to]:checked').value
  const name = page['send-name'].value.trim()
  const to = { user: { users: [name] }, room: { rooms: [name] }, all: { all: true } }[kind]
  const text = page['send-data'].value.trim()
  try {
    const data = text === '' ? null : JSON.parse(text)
    const { ok, body } = await post('/publish', { event: page['send-event'].value.trim(), data, to })
    if (!ok) return showResult(page['send-result'], false, `${body.detail ?? body.title} (${body.code})`)
    const reach = body.matched === 1 ? '1 session' : `${body.matched} sessions`
    showResult(
      page['send-result'],
      true,
      body.matched === 0 ? 'Stored. Nobody it is for is connected; whoever resumes gets it.' : `Stored, for ${reach}.`,
    )
  } catch (error) {
    const reason = error instanceof SyntaxError ? `The data is not JSON: ${error.message}` : 'The demo server did not answer.'
    showResult(page['send-result'], false, reason)
  }
})

page.clear.addEventListener('click', () => {
  cleared = true
  clearEvents()
})

function clearEvents() {
  page.events.replaceChildren()
  received = 0
  showCount()
}

// What an earlier action came to says nothing about the next one.
document.addEventListener('click', ({ target }) => target.closest('button') && clearResults(), { capture: true })
document.addEventListener('submit', clearResults, { capture: true })

function clearResults() {
  for (const place of document.querySelectorAll('.result')) place.textContent = ''
}

page['show-notices'].addEventListener('change', () => {
  page.events.classList.toggle('with-notices', page['show-notices'].checked)
  showCount()
})

// On a phone the events are above what is done: while they are out of sight, the newest is told where it is seen.
new IntersectionObserver(([{ isIntersecting }]) => {
  page.newest.classList.toggle('out-of-sight', !isIntersecting)
}).observe(page.log)

// What the visitor sees

function showState(state) {
  const words = {
    connecting: 'Connecting',
    live: 'Connected',
    reconnecting: 'Reconnecting',
    cut: 'Cut',
    refused: 'Refused',
    ended: 'Ended',
    unreachable: 'Unreachable',
  }
  document.body.dataset.state = state
  page.state.textContent = words[state]
  page.transport.hidden = state !== 'live' && state !== 'refused'
  page.refusal.hidden = !['refused', 'ended', 'unreachable'].includes(state)
  page.cut.textContent = state === 'cut' ? 'Reconnect' : 'Cut the connection'
  page.cut.classList.toggle('primary', state === 'cut')
  page.cut.disabled = !['live', 'cut', 'reconnecting'].includes(state)
  for (const control of document.querySelectorAll('#join, #refresh, .leave')) control.disabled = state !== 'live'
}

function showTransport() {
  page.transport.textContent = socket.io.engine.transport.name
}

function showRefusal(state, title, { code, message }) {
  showState(state)
  showNoSession()
  page['refusal-title'].textContent = `${title}:`
  page['refusal-code'].textContent = code
  page['refusal-text'].textContent = message
  page.transport.textContent = code
}

/** What the bridge keeps to its log, since it may concern nobody but the operator. */
function reasonFor(code) {
  if (!code.startsWith('token_') || code === 'token_expired') return ''
  const wrong = wanted.rooms.find((room) => room.split(/[:./]/).some((part, place, { length }) => !isSegment(part, place === length - 1)))
  return code === 'token_claims' && wrong !== undefined
    ? ` "${wrong}" is no room: * stands for a whole segment (order:*), ** for the rest and only at the end (order:**).`
    : ' The log of the bridge says precisely why: bridge.log, in the folder that the quickstart has named.'
}

const isSegment = (part, isLast) => !part.includes('*') || part === '*' || (part === '**' && isLast)

function showUnreachable() {
  socket.disconnect()
  showRefusal('unreachable', 'No login', { code: location.origin, message: 'The demo server did not answer. Is the quickstart still running?' })
}

function showNoSession() {
  clearInterval(countdown)
  for (const place of [page.user, page.session, page.recovered, page.expires]) place.textContent = '–'
  rooms = new Set()
  showRooms()
}

function showSession({ user, session, recovered, reason, expiresAt }) {
  page.user.textContent = user
  page.session.textContent = session
  page.recovered.textContent = recovered ? 'yes' : reason === undefined ? 'no, a new session' : `no (${reason})`
  showExpiry(expiresAt)
  showRooms()
}

function showExpiry(expiresAt, how = '') {
  clearInterval(countdown)
  const show = () => {
    const seconds = Math.max(0, Math.round((expiresAt - Date.now()) / 1000))
    const left = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
    page.expires.textContent = expiresAt === null ? 'never' : `in ${left}${how}`
  }
  show()
  countdown = setInterval(show, 1000)
}

function showRooms() {
  page.rooms.replaceChildren(
    ...[...rooms].sort().map((room) => {
      const leave = element('button', 'leave', '×', { type: 'button', 'aria-label': `Leave ${room}`, title: `Leave ${room}` })
      leave.disabled = document.body.dataset.state !== 'live'
      leave.addEventListener('click', () => askForRoom('sidecast:leave', room, 'Left'))
      const item = element('li', '', room)
      item.append(leave)
      return item
    }),
  )
  if (rooms.size === 0) page.rooms.append(element('li', 'none', 'none'))
}

function showGrants() {
  page.grants.textContent = wanted.rooms.join(', ') || 'none'
}

function showEvent(event, data, offset, caughtUp) {
  const notice = event.startsWith('sidecast:')
  const item = element('li', notice ? 'notice' : '')
  const head = element('div', 'event-head')
  head.append(element('strong', 'event-name', event))
  if (caughtUp && !notice) head.append(element('span', 'badge', 'caught up'))
  const now = new Date()
  const origin = element('span', 'origin')
  const time = now.toLocaleTimeString([], { hour12: false, hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 })
  origin.append(element('code', 'offset', offset, { title: 'offset' }), element('time', '', time, { datetime: now.toISOString() }))
  head.append(origin)
  // Text, never HTML: what an event holds is not to be trusted with the page.
  item.append(head, element('pre', '', JSON.stringify(data, null, 1).replace(/\n\s*/g, ' ')))
  page.events.prepend(item)
  if (!notice) {
    received++
    page['newest-name'].textContent = event
  }
  while (page.events.children.length > shownEvents) page.events.lastChild.remove()
  showCount()
}

function showCount() {
  page.count.textContent = page['newest-count'].textContent = received
  page.newest.hidden = received === 0
  page.empty.hidden = received > 0 || (page['show-notices'].checked && page.events.children.length > 0)
  page['empty-text'].textContent = cleared ? 'Cleared: what arrives from now on is shown here.' : 'Nothing has arrived yet.'
}

function showResult(place, good, text) {
  place.textContent = text
  place.classList.toggle('bad', !good)
}

function element(name, className, text = '', attributes = {}) {
  const made = document.createElement(name)
  if (className !== '') made.className = className
  made.textContent = text
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  return made
}

showGrants()
if (typeof io === 'undefined') {
  showRefusal('unreachable', 'No bridge', { code: bridge, message: 'The bridge did not answer. Is it running? Then reload this page.' })
  page['fresh-login'].hidden = true
} else {
  connect()
}
