import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

export const quickstartHelp = `npm run quickstart -- [--port 3000] [--demo-port 8080] [--dir .quickstart]

Starts the bridge on the embedded log, and a demo page. When a port is taken, the next free one is used: take the addresses that it prints.

  --port N        where browsers connect; the ingress takes the port after it
  --demo-port N   the demo page
  --dir FOLDER    what outlives a restart: the events, the development secret, the API key, the log of the bridge

Of the environment it takes SIDECAST_AMQP_…, to publish through a RabbitMQ of yours. All else it sets itself; npm start reads the rest.`

interface QuickstartCall {
  readonly directory: string
  readonly port: number
  readonly demoPort: number
}

/** What the caller has to put right. */
export class Misuse extends Error {}

/** Undefined: asked for help. @throws Misuse */
export function parseQuickstartCall(args: readonly string[]): QuickstartCall | undefined {
  const values = readFlags(args)
  if (values.help === true) return undefined
  if (values.dir === '') throw new Misuse('--dir is empty: it must be a folder')
  return {
    directory: values.dir,
    port: parsePort('--port', values.port, 65_534, ', since the ingress takes the port after it'),
    demoPort: parsePort('--demo-port', values['demo-port'], 65_535),
  }
}

function readFlags(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        dir: { type: 'string', default: fileURLToPath(new URL('../.quickstart', import.meta.url)) },
        port: { type: 'string', default: '3000' },
        'demo-port': { type: 'string', default: '8080' },
        help: { type: 'boolean', short: 'h' },
      },
    })
    return values
  } catch (error) {
    // Its second sentence tells programmers how to take words that begin with a dash.
    throw error instanceof TypeError ? new Misuse(error.message.split('. ')[0]) : error
  }
}

function parsePort(flag: string, text: string, highest: number, because = ''): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > highest) throw new Misuse(`${flag} must be a port from 1 to ${highest}${because}; ${JSON.stringify(text)} is none`)
  return port
}

/** Settings of the environment: where RabbitMQ is can only be known from there, all others are the quickstart's own. */
export function divideEnvironment(environment: Readonly<Record<string, string | undefined>>) {
  const settings = Object.entries(environment).flatMap(([name, value]) =>
    name.startsWith('SIDECAST_') && value !== undefined ? [[name, value] as const] : [],
  )
  const isPassed = (name: string): boolean => name.startsWith('SIDECAST_AMQP_')
  // What `sidecast publish` and the tests read is no setting of any bridge.
  const isForOthers = (name: string): boolean => /^SIDECAST_(URL$|API_KEY$|TEST_)/.test(name)
  return {
    passed: Object.fromEntries(settings.filter(([name]) => isPassed(name))),
    unused: settings.map(([name]) => name).filter((name) => !isPassed(name) && !isForOthers(name)),
  }
}
