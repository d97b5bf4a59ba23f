import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connectSession } from '../support/client.ts'
import { runProgram } from './run-program.ts'
import { startQuickstart } from './start-quickstart.ts'

const ports = { port: 13_000, demoPort: 18_080 }
const sent = { event: 'order.updated', data: { order: 7, status: 'shipped' } }

test('the printed curl line, pasted into a shell, reaches a session with the printed token', async () => {
  await using quickstart = await startQuickstart(ports)
  await using session = connectSession(quickstart.bridge, { token: quickstart.token })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42' })

  const { exitCode, output, errors } = await runProgram('sh', ['-c', quickstart.curl])
  expect(errors).toBe('')
  expect(exitCode).toBe(0)
  expect(JSON.parse(output)).toMatchObject({ duplicate: false, matched: 1 })
  expect(await session.event()).toMatchObject(sent)
})

test('Ctrl-C stops it, and after the next start a client goes on where it was', async () => {
  await using first = await startQuickstart(ports)
  await using session = connectSession(first.bridge, { token: first.token })
  await session.notice('sidecast:ready')
  await runProgram('sh', ['-c', first.curl])
  await session.event()
  const stopped = await first.stop()
  expect(stopped.exitCode, stopped.output).toBe(0)
  expect(stopped.output).toContain('Stopped.')
  await session.closed()

  await using second = await startQuickstart(ports, first.directory)
  expect(second.bridge).toBe(first.bridge)
  expect(second.curl).toBe(first.curl)
  expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true })
  await runProgram('sh', ['-c', second.curl])
  expect(await session.event(2)).toMatchObject(sent)
})

test('a second one in the same folder is refused before it takes ports, and leaves the log of the first alone', async () => {
  await using first = await startQuickstart(ports)
  const log = join(first.directory, 'bridge.log')
  const before = await readFile(log, 'utf8')
  const { exitCode, output, errors } = await runProgram(process.execPath, ['examples/quickstart.ts', '--dir', first.directory])
  expect({ exitCode, output }).toEqual({ exitCode: 1, output: '' })
  expect(errors).toBe('A quickstart already runs in this folder: stop it, or npm run quickstart:run -- --dir .quickstart2\n')
  expect((await readFile(log, 'utf8')).startsWith(before)).toBe(true)
})

test('what it takes is told by --help, and what it cannot use precisely, before anything is made', async () => {
  const run = (...args: readonly string[]) => runProgram(process.execPath, ['examples/quickstart.ts', '--dir', '/dev/null/folder', ...args])
  const help = await run('--help')
  expect({ exitCode: help.exitCode, errors: help.errors }).toEqual({ exitCode: 0, errors: '' })
  for (const flag of ['--port N', '--demo-port N', '--dir FOLDER']) expect(help.output).toContain(flag)
  for (const [args, problem] of [
    [['--port', 'abc'], '--port must be a port from 1 to 65534, since the ingress takes the port after it; "abc" is none'],
    [['--port', '65535'], '--port must be a port from 1 to 65534, since the ingress takes the port after it; "65535" is none'],
    [['--demo-port', '0'], '--demo-port must be a port from 1 to 65535; "0" is none'],
    [['--prot', '3000'], "Unknown option '--prot'"],
    [['4000'], "Unexpected argument '4000'"],
  ] as const)
    expect(await run(...args)).toEqual({ exitCode: 2, output: '', errors: `quickstart: ${problem} (--help says more)\n` })
})

test('settings of the environment that it does not use are named', async () => {
  await using quickstart = await startQuickstart(ports, undefined, { JWT_ISSUER: 'shop', API_KEY: 'for-publish' })
  expect(quickstart.output).toMatch(/^ {3}Not used {3}SIDECAST_JWT_ISSUER, SIDECAST_PUBLIC_PORT {3}/m)
})

test('a taken port is named, and the next free one is used', async () => {
  const other = createServer().listen(ports.demoPort, '127.0.0.1')
  await once(other, 'listening')
  await using quickstart = await startQuickstart(ports)
  expect(quickstart.output).toContain(`Port ${ports.demoPort} is taken`)
  expect(quickstart.page).not.toContain(`:${ports.demoPort}`)
  const page = await fetch(quickstart.page)
  expect(page.status).toBe(200)
  // The page loads the client from where this bridge listens, and may load it from nowhere else.
  expect(await page.text()).toContain(`src="${quickstart.bridge}/socket.io/socket.io.js"`)
  expect(page.headers.get('content-security-policy')).toContain(`script-src 'self' ${quickstart.bridge};`)
  other.close()
})

test('the secret and the key are readable by their owner alone', async () => {
  await using quickstart = await startQuickstart(ports)
  for (const name of ['jwt-secret', 'api-key', 'bridge.log']) {
    const { mode } = await stat(join(quickstart.directory, name))
    expect(mode & 0o777, name).toBe(0o600)
  }
  const log = await readFile(join(quickstart.directory, 'bridge.log'), 'utf8')
  expect(log).not.toContain(await readFile(join(quickstart.directory, 'jwt-secret'), 'utf8'))
  expect(log).not.toContain(await readFile(join(quickstart.directory, 'api-key'), 'utf8'))
})

test('the demo server answers to its own names only, and to no form of a foreign page', async () => {
  await using quickstart = await startQuickstart(ports)
  const { port } = new URL(quickstart.page)
  const curl = (...args: readonly string[]) => runProgram('curl', ['-sS', '-o', '/dev/null', '-w', '%{http_code}', ...args])
  expect((await curl('-I', quickstart.page)).output).toBe('200')
  expect((await curl('-H', `Host: evil.example:${port}`, quickstart.page)).output).toBe('421')
  expect((await curl('-d', '{"user":"42","rooms":[]}', `${quickstart.page}/login`)).output).toBe('415')
  expect((await curl('-H', 'content-type: application/json', '-d', '{"user":"42","rooms":[]}', `${quickstart.page}/login`)).output).toBe('200')
})
