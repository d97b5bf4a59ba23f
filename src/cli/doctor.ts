import { type Config, loadConfig } from '../config/config.ts'
import { notesOn } from '../config/notes.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'
import type { Addresses } from './doctor/bridge.ts'
import { type Finding, ok, skipped } from './doctor/finding.ts'
import { checkFileLimit, checkFolder } from './doctor/machine.ts'
import { checkBackend, checkKeys } from './doctor/services.ts'

type Titled = readonly [title: string, finding: Finding]

export const doctor: Command = {
  name: 'doctor',
  summary: 'tries everything that a first deployment gets wrong',
  help: `sidecast doctor [--url https://push.example.com] [--api-key KEY] [--config sidecast.yaml] [flags of serve]

Looks at the configuration, at this machine, at what the configuration names (keys, the application, the broker), and at a bridge if one
runs: clocks, file limits, the data folder, origins, sticky sessions, and a canary: a login that connects and an event that reaches it.

  --url          where browsers reach the bridge, through all proxies; else its public listener on this machine
  --private-url  its private listener; else SIDECAST_URL, else the one that is configured
  --api-key      for the canary; else SIDECAST_API_KEY
  --origin       a page that must be able to connect; may be repeated; else all of SIDECAST_ALLOWED_ORIGINS

At the broker it declares what the bridge itself would declare. The canary is one event for a user that does not exist.
Exit code: 0 nothing is wrong, 1 something is, 2 the call or the configuration is wrong.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, { texts: ['url', 'private-url', 'api-key', 'origin'] })
    const config = loadConfig({ args: call.configArgs, env, cwd })
    refuseWords(call.words)
    const apiKey = call.text('api-key') ?? env.SIDECAST_API_KEY
    const addresses: Addresses = {
      publicUrl: toUrl(call.text('url') ?? local(config.gateway), '--url'),
      privateUrl: toUrl(call.text('private-url') ?? env.SIDECAST_URL ?? local(config.http), '--private-url'),
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
    if (config.backend !== undefined) show(titled('application', await checkBackend(config.backend)))
    if (config.amqp !== undefined) {
      // Only here, so that the other commands do not load a client of RabbitMQ; the same below for sockets.
      const { checkBroker } = await import('./doctor/broker.ts')
      show(titled('broker', await checkBroker(config.amqp)))
    }
    show(await checkBridge(config, addresses, call.texts('origin')))
    console.log(problems === 0 ? 'Nothing is wrong.' : `${problems} ${problems === 1 ? 'thing is' : 'things are'} wrong.`)
    return problems === 0 ? 0 : 1
  },
}

const titled = (title: string, findings: readonly Finding[]): readonly Titled[] => findings.map((finding) => [title, finding])

async function checkBridge(config: Config, addresses: Addresses, origins: readonly string[]): Promise<readonly Titled[]> {
  const { checkCanary, checkOrigins, checkReady, checkSticky } = await import('./doctor/bridge.ts')
  const ready = await checkReady(addresses, config.jwt.clockToleranceMs)
  if (ready === undefined) return [['bridge', skipped(`none answers at ${addresses.privateUrl}: start it (sidecast serve), or give --private-url`)]]
  const { allowedOrigins, transports } = config.gateway
  return [
    ...ready,
    ...titled('origins', await checkOrigins(addresses, origins.length > 0 ? origins : allowedOrigins)),
    ...(transports.includes('polling') ? titled('sticky', [await checkSticky(addresses)]) : []),
    ...(transports.includes('websocket') ? titled('canary', await checkCanary(addresses, config)) : []),
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
