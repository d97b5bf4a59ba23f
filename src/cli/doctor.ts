import { availableParallelism } from 'node:os'
import { type Config, loadConfig } from '../config/config.ts'
import { notesOn } from '../config/notes.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'
import type { Addresses } from './doctor/bridge.ts'
import { type Finding, ok, problem, skipped } from './doctor/finding.ts'
import { checkFileLimit, checkFolder } from './doctor/machine.ts'
import { checkKeys } from './doctor/services.ts'

type Titled = readonly [title: string, finding: Finding]

export const doctor: Command = {
  name: 'doctor',
  summary: 'tries everything that a first deployment gets wrong',
  help: `sidecast doctor [--url https://push.example.com] [--api-key KEY] [--config sidecast.yaml] [flags of serve]

Looks at the configuration, at this machine, at what the configuration names (keys, Redis, the application, the broker), and at a bridge if one
runs: clocks, file limits, the data folder, origins, sticky sessions, and a canary: a login that connects and an event that reaches it.

  --url          where browsers reach the bridge, through all proxies; else its public listener on this machine
  --private-url  its private listener; else SIDECAST_URL, else the one that is configured
  --api-key      for the canary; else SIDECAST_API_KEY
  --origin       a page that must be able to connect; may be repeated; else all of SIDECAST_ALLOWED_ORIGINS

At the broker it declares what the bridge itself would declare. The canary is one event for a user that does not exist. The application is asked as the
bridge asks it, signed: about the user and the room sidecast-doctor, and about a token that nobody has.
Exit code: 0 nothing is wrong, 1 something is, 2 the call or the configuration is wrong.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, { texts: ['url', 'private-url', 'api-key', 'origin'] })
    const config = loadConfig({ args: call.configArgs, env, cwd })
    refuseWords(call.words)
    const apiKey = call.text('api-key') ?? env.SIDECAST_API_KEY
    const named = { publicUrl: call.text('url'), privateUrl: call.text('private-url') ?? env.SIDECAST_URL }
    const addresses: Addresses = {
      publicUrl: toUrl(named.publicUrl ?? local(config.gateway), '--url'),
      privateUrl: toUrl(named.privateUrl ?? local(config.http), '--private-url'),
      ...(apiKey === undefined ? {} : { apiKey }),
    }
    let problems = 0
    const show = (titled: readonly Titled[]): void => {
      for (const [title, finding] of titled) {
        if (finding.kind === 'problem') problems++
        for (const line of toLines(title, finding)) console.log(line)
      }
    }
    show([['configuration', ok('valid')]])
    for (const note of notesOn(config)) console.log(`note     ${note}`)
    show([
      ['files', checkFileLimit()],
      ['data folder', await checkFolder(config.log.directory)],
    ])
    show(await checkKeys(config.jwt))
    if (config.workers > availableParallelism())
      show([
        [
          'workers',
          problem(
            `${config.workers} workers on ${availableParallelism()} processors: they wait for each other`,
            'set SIDECAST_WORKERS to at most as many, or to auto',
          ),
        ],
      ])
    if (config.redis !== undefined) {
      const { checkRedis } = await import('./doctor/redis.ts')
      show(titled('redis', await checkRedis(config.redis)))
    }
    if (config.backend !== undefined) {
      const { checkApplication } = await import('./doctor/application.ts')
      show(titled('application', await checkApplication(config, config.backend)))
    }
    if (config.amqp !== undefined) {
      // Only here, so that the other commands do not load a client of RabbitMQ; the same below for sockets.
      const { checkBroker } = await import('./doctor/broker.ts')
      show(titled('broker', await checkBroker(config.amqp)))
    }
    show(await checkBridge(config, addresses, { named, origins: call.texts('origin') }))
    console.log(problems === 0 ? 'Nothing is wrong.' : `${problems} ${problems === 1 ? 'thing is' : 'things are'} wrong.`)
    return problems === 0 ? 0 : 1
  },
}

const titled = (title: string, findings: readonly Finding[]): readonly Titled[] => findings.map((finding) => [title, finding])

interface Asked {
  /** The addresses that were given, at which somebody must answer then. */
  readonly named: { readonly [which in 'publicUrl' | 'privateUrl']: string | undefined }
  readonly origins: readonly string[]
}

async function checkBridge(config: Config, addresses: Addresses, { named, origins }: Asked): Promise<readonly Titled[]> {
  const { checkCanary, checkOrigins, checkReady, checkSticky } = await import('./doctor/bridge.ts')
  const { publicUrl, privateUrl } = addresses
  const ready = await checkReady(addresses, config.jwt.clockToleranceMs)
  const none = `none answers at ${privateUrl}: start it (sidecast serve)`
  const absent = named.privateUrl === undefined ? skipped(`${none}, or give --private-url`) : problem(none, 'or correct --private-url (SIDECAST_URL)')
  if (ready === undefined && named.publicUrl === undefined) return [['bridge', absent]]
  const { allowedOrigins, transports } = config.gateway
  // What browsers reach can be tried from where the private listener cannot be reached; nothing is published then.
  const reached = ready === undefined ? { publicUrl, privateUrl } : addresses
  return [
    ...(ready ?? [['bridge', absent] as const]),
    ...titled('origins', await checkOrigins(reached, origins.length > 0 ? origins : allowedOrigins)),
    ...(transports.includes('polling') ? titled('sticky', [await checkSticky(reached)]) : []),
    ...(transports.includes('websocket') ? titled('canary', await checkCanary(reached, config)) : []),
  ]
}

function local({ host, port }: { readonly host: string; readonly port: number }): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}

function toUrl(text: string, option: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) throw misuse(`${option} must be an address such as https://push.example.com`)
  return text
}

function toLines(title: string, finding: Finding): readonly string[] {
  const line = `${finding.kind.padEnd(8)} ${title.padEnd(14)}${printable(finding.detail)}`
  return finding.kind === 'problem' ? [line, `${' '.repeat(23)}-> ${finding.cure}`] : [line]
}

/** Others have written some of it: nothing in it may command the terminal. */
const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
