import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { type Config, loadConfig } from '../../src/config/config.ts'

type Tree = Readonly<Record<string, unknown>>

const folder = await mkdtemp(join(tmpdir(), 'sidecast-manifests-'))
afterAll(() => rm(folder, { recursive: true }))

/** What the examples say about secrets: which file holds what. */
const secrets: Readonly<Record<string, string>> = {
  'jwt-secret': randomBytes(48).toString('base64url'),
  'api-keys': `app:${randomBytes(32).toString('hex')}:publish+read`,
  'redis-url': `redis://default:${randomBytes(32).toString('hex')}@redis:6379/0`,
  'amqp-url': `amqp://sidecast:${randomBytes(32).toString('hex')}@rabbitmq:5672/`,
}
for (const [name, text] of Object.entries(secrets)) await writeFile(join(folder, name), text)

/** The configuration of a node with this environment, its secrets where they are mounted. */
function load(environment: Readonly<Record<string, string>>): Config {
  const env = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace(/^\/run\/secrets\/(sidecast\/)?/, `${folder}/`)]),
  )
  return loadConfig({ args: [], env, cwd: folder })
}

const read = (path: string): Promise<string> => readFile(new URL(`../../${path}`, import.meta.url), 'utf8')

/** A value deep inside; undefined when the way to it ends before. */
const at = (tree: unknown, ...path: readonly (string | number)[]): unknown => path.reduce<unknown>((part, key) => Object(part)[key], tree)

const seconds = (value: unknown): number => Number(/^(\d+)s$/.exec(String(value))?.[1])

/** What may pass between the signal and the end: lead, drain period, and 5 s for requests. */
const endsAfterMs = ({ drainLeadMs, drainPeriodMs }: Config): number => drainLeadMs + drainPeriodMs + 5000

describe.each(['compose.yaml', 'examples/compose/cluster.yaml'])('%s', (path) => {
  test('each node starts with what it is given, and has the time to stop', async () => {
    const { services, secrets: declared, volumes = {} }: Readonly<Record<string, Tree>> = parse(await read(path), { merge: true })
    const nodes = Object.entries(services ?? {}).filter(([name]) => name.startsWith('sidecast'))
    expect(nodes).toHaveLength(path === 'compose.yaml' ? 1 : 3)
    for (const [, node] of nodes) {
      const config = load(at(node, 'environment') as Readonly<Record<string, string>>)
      expect(config.http.host).toBe('0.0.0.0')
      expect(seconds(at(node, 'stop_grace_period')) * 1000).toBeGreaterThan(endsAfterMs(config))
      const used = Object.values(at(node, 'environment') as Tree).filter((value) => String(value).startsWith('/run/secrets/'))
      expect(used.map((file) => String(file).replace('/run/secrets/', '')).toSorted()).toEqual((at(node, 'secrets') as string[]).toSorted())
    }
    for (const service of Object.values(services ?? {})) {
      for (const secret of (at(service, 'secrets') ?? []) as string[]) expect(declared).toHaveProperty(secret)
      for (const other of Object.keys(Object(at(service, 'depends_on')))) expect(services).toHaveProperty(other)
      for (const mount of (at(service, 'volumes') ?? []) as string[]) {
        const [from = ''] = mount.split(':')
        if (!/^[./]/.test(from)) expect(volumes).toHaveProperty(from)
        // Relative to the folder of the repository, as its first lines say.
        if (from.startsWith('./')) expect(await read(from)).not.toBe('')
      }
      // The private listener is nobody's but the application's.
      for (const port of (at(service, 'ports') ?? []) as string[]) expect(port).toMatch(/^127\.0\.0\.1:3000:(3000|80)$/)
    }
  })
})

test('in compose, nodes of one cluster share Redis and leave HAProxy time to notice', async () => {
  const { services }: Readonly<Record<string, Tree>> = parse(await read('examples/compose/cluster.yaml'), { merge: true })
  const config = load(at(services, 'sidecast-1', 'environment') as Readonly<Record<string, string>>)
  expect(config.redis).toBeDefined()
  expect(config.amqp).toBeDefined()
  const haproxy = await read('examples/haproxy/haproxy.cfg')
  const [, interval, fall] = /port 3001 inter (\d+)ms fall (\d+)/.exec(haproxy) ?? []
  expect(config.drainLeadMs).toBeGreaterThan(Number(interval) * Number(fall))
  for (const [name, node] of Object.entries(at(services, 'haproxy', 'environment') as Tree)) {
    expect(haproxy).toContain(`\${${name}-`)
    if (name.startsWith('NODE_')) expect(services).toHaveProperty(String(node))
  }
  const command = at(services, 'redis', 'command') as readonly string[]
  // The entrypoint of the image gives up root only for this word in front.
  expect(command[0]).toBe('redis-server')
  expect(command.join(' ')).toContain('--appendonly yes')
})

describe.each(['single', 'cluster'])('Kubernetes, %s', async (topology) => {
  const documents = parseAllDocuments(await read(`examples/kubernetes/${topology}.yaml`))
  const objects: readonly unknown[] = documents.map((document) => document.toJS())
  const pod = at(
    objects.find((object) => at(object, 'kind') === (topology === 'single' ? 'StatefulSet' : 'Deployment')),
    'spec',
  )
  const container = at(pod, 'template', 'spec', 'containers', 0)
  const environment = Object.fromEntries((at(container, 'env') as readonly Tree[]).map(({ name, value }) => [String(name), value as string]))

  test('is read without an error, and each object has a name and a version', () => {
    expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([])
    for (const object of objects) expect([at(object, 'apiVersion'), at(object, 'kind'), at(object, 'metadata', 'name')]).not.toContain(undefined)
    expect(new Set(objects.map((object) => `${at(object, 'kind')} ${at(object, 'metadata', 'name')}`)).size).toBe(objects.length)
  })

  test('a node starts with what it is given, finds its secrets, and has the time to stop', () => {
    const config = load(environment)
    expect(config.redis !== undefined).toBe(topology === 'cluster')
    expect(Number(at(pod, 'template', 'spec', 'terminationGracePeriodSeconds')) * 1000).toBeGreaterThan(endsAfterMs(config))
    expect(at(pod, 'template', 'spec', 'enableServiceLinks')).toBe(false)
    const mounts = (at(container, 'volumeMounts') as readonly Tree[]).map(({ name, mountPath }) => ({ name, mountPath }))
    const names = [...((at(pod, 'template', 'spec', 'volumes') ?? []) as Tree[]), ...((at(pod, 'volumeClaimTemplates') ?? []) as Tree[])]
    expect(mounts.map(({ name }) => name).toSorted()).toEqual(names.map((volume) => at(volume, 'name') ?? at(volume, 'metadata', 'name')).toSorted())
    for (const path of Object.values(environment).filter((value) => value.startsWith('/run/')))
      expect(mounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`))).toBe(true)
    // Where the image keeps its data.
    expect(mounts.map(({ mountPath }) => mountPath)).toContain('/data')
  })

  test('probes, services and policies lead to ports that there are, at the right listener', () => {
    const ports = new Map((at(container, 'ports') as readonly Tree[]).map(({ name, containerPort }) => [name, containerPort]))
    const config = load(environment)
    expect(ports).toEqual(
      new Map([
        ['public', config.gateway.port],
        ['private', config.http.port],
      ]),
    )
    for (const [probe, path] of [
      ['startupProbe', '/startupz'],
      ['livenessProbe', '/livez'],
      ['readinessProbe', '/readyz'],
    ] as const)
      expect(at(container, probe, 'httpGet')).toEqual({ path, port: 'private' })
    for (const object of objects) {
      if (at(object, 'kind') !== 'Service') continue
      expect(at(object, 'spec', 'selector')).toEqual(at(pod, 'template', 'metadata', 'labels'))
      expect(ports.has(at(object, 'spec', 'ports', 0, 'targetPort'))).toBe(true)
    }
    const budget = objects.find((object) => at(object, 'kind') === 'PodDisruptionBudget')
    expect(at(budget, 'spec', 'selector')).toEqual(at(pod, 'selector'))
  })
})
