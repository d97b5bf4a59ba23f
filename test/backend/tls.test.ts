import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { expect, test } from 'vitest'
import { Call } from '../../src/backend/call.ts'

test('over https only a certificate that is trusted, and of that name, is talked to', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-tls-'))
  const trusted = getCACertificates()
  const passphrase = randomBytes(16).toString('hex')
  try {
    // The JDK's, which is there for the examples.
    const store = ['-keystore', join(directory, 'store.p12'), '-storetype', 'PKCS12', '-storepass', passphrase, '-alias', 'server']
    const names = ['-dname', 'CN=localhost', '-ext', 'san=dns:localhost']
    execFileSync('keytool', ['-genkeypair', ...store, '-keyalg', 'EC', '-groupname', 'secp256r1', ...names], { stdio: 'ignore' })
    const certificate = execFileSync('keytool', ['-exportcert', '-rfc', ...store], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    const pfx = await readFile(join(directory, 'store.p12'))
    let asked = 0
    const server = createServer({ pfx, passphrase }, (_request, response) => {
      asked++
      response.setHeader('content-type', 'application/json').end('{"allowed":true}')
    })
    server.listen(0, 'localhost')
    await once(server, 'listening')
    const { port, address } = Object(server.address())
    const ask = async (host: string) => {
      const call = new Call({ url: `https://${host}:${port}/`, setting: 'SIDECAST_TEST_URL', timeoutMs: 5000 })
      return call
        .post({}, '{}')
        .then((answer) => answer.json())
        .finally(() => call.close())
    }
    try {
      await expect(ask('localhost')).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('certificate') })
      setDefaultCACertificates([certificate])
      await expect(ask(address === '::1' ? '[::1]' : address)).rejects.toMatchObject({ code: 'unavailable' })
      expect(asked).toBe(0)
      expect(await ask('localhost')).toEqual({ allowed: true })
    } finally {
      server.close()
      server.closeAllConnections()
    }
  } finally {
    setDefaultCACertificates(trusted)
    await rm(directory, { recursive: true })
  }
})
