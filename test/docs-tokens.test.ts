import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { presetNames, presetOf } from '../src/auth/presets.ts'
import { loadConfig } from '../src/config/config.ts'

const page = await readFile(new URL('../docs/tokens.md', import.meta.url), 'utf8')
const blocks = (language: string) => [...page.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text = '']) => text)
const settings = blocks('sh').filter((block) => block.split('\n').every((line) => line === '' || line.startsWith('SIDECAST_')))

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sidecast-docs-'))
  await mkdir(join(folder, 'etc'))
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const files = {
    'jwt-secret': randomBytes(48).toString('base64url'),
    'jwt-base64-secret': randomBytes(64).toString('base64'),
    'authorize-secret': `whsec_${randomBytes(32).toString('base64')}`,
    'public.pem': publicKey.export({ type: 'spki', format: 'pem' }),
  }
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, 'etc', name), content)
})
afterAll(() => rm(folder, { recursive: true }))

const here = (text: string): string => text.replaceAll('/etc/sidecast/', join(folder, 'etc/'))

test('the page has settings for each stack', () => {
  expect(settings.length).toBeGreaterThanOrEqual(12)
  for (const preset of presetNames) expect(settings.join('')).toContain(`SIDECAST_JWT_PRESET=${preset}\n`)
})

test.each(settings)('these settings are valid:\n%s', (block) => {
  const env = Object.fromEntries([...here(block).matchAll(/^(SIDECAST_\w+)=(.*?)(?: +#.*)?$/gm)].map(([, name, value]) => [name ?? '', value]))
  const { jwt, backend } = loadConfig({ args: [], env, cwd: folder })
  expect(jwt.issuers.length > 0 || backend !== undefined).toBe(true)
})

test('the configuration file with several issuers is valid', async () => {
  const [yaml = ''] = blocks('yaml')
  await writeFile(join(folder, 'sidecast.yaml'), here(yaml))
  expect(loadConfig({ args: ['--config', 'sidecast.yaml'], env: {}, cwd: folder }).jwt.issuers.map(({ name }) => name)).toEqual(['shop', 'staff'])
})

test('the table of presets says what they are', () => {
  for (const name of presetNames) {
    const [row = ''] = page.match(new RegExp(`^\\| \`${name}\` \\|.*$`, 'm')) ?? []
    const { userClaims, roomTemplates, requiredClaims = [] } = presetOf(name)
    for (const text of [...userClaims, ...roomTemplates, ...requiredClaims]) expect(row).toContain(`\`${text}\``)
  }
})
