import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { runProgram } from './run-program.ts'
import { startSwallowingProxy } from './swallowing-proxy.ts'

const languages = [
  { language: 'PHP', program: 'php', file: 'examples/php/publish-signed.php' },
  { language: 'Java', program: 'java', file: 'examples/java/PublishSigned.java' },
] as const

const makeSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`

describe.each(languages)('the $language example that signs', ({ program, file }) => {
  const publish = (url: string, secret: string) => runProgram(program, [file, '42'], { SIDECAST_URL: url, SIDECAST_SIGNING_SECRET: secret })

  test('publishes, also when an answer is lost, and the user receives it once', async () => {
    const secret = makeSecret()
    await using bridge = await startTestBridge({ SIGNING_KEYS: `shop:${secret}` })
    await using proxy = await startSwallowingProxy(bridge.privateUrl, 1)
    await using session = connectSession(bridge.publicUrl, { token: login('42') })
    await session.notice('sidecast:ready')
    const { exitCode, output, errors } = await publish(proxy.url, secret)
    expect(errors).toBe('')
    expect(output).toContain('published')
    expect(exitCode).toBe(0)
    expect(JSON.parse(proxy.swallowed[0] ?? 'null')).toMatchObject({ duplicate: false })
    expect(JSON.parse(proxy.passed[0] ?? 'null')).toMatchObject({ duplicate: true })
    await bridge.publish({ event: 'end', to: { users: ['42'] } })
    await session.until(() => session.received.at(-1)?.event === 'end')
    expect(session.received).toMatchObject([{ event: 'order.updated', data: { order: 7, name: 'Grüße' } }, { event: 'end' }])
  })

  test('says that the secret is wrong, or that there is none', async () => {
    await using bridge = await startTestBridge({ SIGNING_KEYS: `shop:${makeSecret()}` })
    const wrong = await publish(bridge.privateUrl, makeSecret())
    expect(wrong.errors).toContain('signature_invalid')
    expect(wrong.exitCode).toBe(1)
    const none = await publish(bridge.privateUrl, '')
    expect(none.errors).toContain('SIDECAST_SIGNING_SECRET is not set')
    expect(none.exitCode).toBe(1)
  })
})
