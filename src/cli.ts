#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { checkConfig } from './cli/check-config.ts'
import { type Command, misuse } from './cli/command.ts'
import { deadLetters } from './cli/dead-letters.ts'
import { doctor } from './cli/doctor.ts'
import { publish } from './cli/publish.ts'
import { serve } from './cli/serve.ts'
import { token } from './cli/token.ts'
import { verifyToken } from './cli/verify-token.ts'
import { closest } from './config/sources.ts'
import { BridgeError } from './errors.ts'

const commands: readonly Command[] = [serve, token, verifyToken, publish, deadLetters, checkConfig, doctor]

const overview = `sidecast: an authenticated realtime bridge beside a PHP or Java application

${commands.map(({ name, summary }) => `  sidecast ${name.padEnd(14)}${summary}`).join('\n')}
  sidecast help COMMAND  says how a command is called
  sidecast --version     says which version this is

A first try, on one machine:

  export SIDECAST_JWT_SECRET=$(openssl rand -base64 48)     # the secret that your application signs its login tokens with
  export SIDECAST_API_KEY=$(openssl rand -hex 32)           # what your application publishes with
  export SIDECAST_API_KEYS=app:$SIDECAST_API_KEY
  sidecast serve &
  sidecast token --user 42                                  # a login token for a browser
  sidecast publish hello --user 42 --data '{"text":"hi"}'

Exit codes: 0 good, 1 it failed, 2 the call or the configuration is wrong.`

/** Resolves to the exit code. */
async function main([word, ...args]: readonly string[]): Promise<number> {
  if (word === '--version' || word === '-v') {
    console.log(version())
    return 0
  }
  if (word === undefined) {
    console.error(overview)
    return 2
  }
  if (word === 'help' || word === '--help' || word === '-h') {
    const [topic] = args
    console.log(topic === undefined ? overview : find(topic).help)
    return 0
  }
  const command = find(word)
  if (args.includes('--help') || args.includes('-h')) {
    console.log(command.help)
    return 0
  }
  return command.run({ args, env: process.env, cwd: process.cwd() })
}

/** @throws BridgeError invalid_request */
function find(word: string): Command {
  const command = commands.find(({ name }) => name === word)
  if (command !== undefined) return command
  const names = commands.map(({ name }) => name)
  const suggestion = closest(word, names)
  throw misuse(
    `unknown command ${JSON.stringify(word)}: ${suggestion === undefined ? `there are ${names.join(', ')}` : `did you mean ${suggestion}?`}`,
  )
}

function version(): string {
  const description: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return typeof description === 'object' && description !== null && 'version' in description ? String(description.version) : 'unknown'
}

function report(error: unknown): number {
  if (!(error instanceof BridgeError)) {
    // Nobody expected this: the place where it happened is what helps.
    console.error(error)
    return 1
  }
  console.error(`sidecast: ${error.message}`)
  return error.code === 'invalid_request' || error.code === 'invalid_config' ? 2 : 1
}

process.exitCode = await main(process.argv.slice(2)).catch(report)
