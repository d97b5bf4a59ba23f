import { parseArgs } from 'node:util'
import { type ConfigSources, closest, flagNames } from '../config/sources.ts'
import { BridgeError } from '../errors.ts'

/** One word after `sidecast`. */
export interface Command {
  readonly name: string
  /** What it does, in a line. */
  readonly summary: string
  /** How it is called and what with; printed by `sidecast help NAME`. */
  readonly help: string
  /** Resolves to the exit code: 0 good, 1 it failed. What is thrown as `invalid_request` or `invalid_config` ends with 2. */
  run(sources: ConfigSources): Promise<number>
}

/** The call itself is wrong. */
export const misuse = (detail: string): BridgeError => new BridgeError('invalid_request', detail)

/** The arguments of a command, sorted into its own options and the flags of the configuration. */
export interface Call {
  /** Arguments without dashes. */
  readonly words: readonly string[]
  /** For `loadConfig`, which also says what it does not know. */
  readonly configArgs: readonly string[]
  text(option: string): string | undefined
  texts(option: string): readonly string[]
  isSet(option: string): boolean
}

/** `texts`: options that take a value; `switches`: options that take none. @throws BridgeError invalid_request */
export function parseCall(args: readonly string[], own: { readonly texts?: readonly string[]; readonly switches?: readonly string[] }): Call {
  const { texts = [], switches = [] } = own
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries([
      ...[...flagNames, ...texts].map((name) => [name, { type: 'string' }] as const),
      ...switches.map((name) => [name, { type: 'boolean' }] as const),
    ]),
    // What is not known is left to whoever takes the configuration's flags: it has suggestions.
    strict: false,
    tokens: true,
  })
  const ours = [...texts, ...switches]
  const values = new Map<string, readonly string[]>()
  const configArgs: string[] = []
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (texts.includes(name)) {
      if (value === undefined || (!inlineValue && value.startsWith('--'))) throw misuse(`${rawName} has no value`)
      values.set(name, [...(values.get(name) ?? []), value])
    } else if (switches.includes(name)) {
      if (value !== undefined) throw misuse(`${rawName} takes no value`)
      values.set(name, [])
    } else {
      // Options of this command are unknown to whoever takes the configuration's flags.
      const meant = flagNames.includes(name) ? undefined : suggest(rawName, ours)
      if (meant !== undefined) throw notHere(rawName, meant)
      configArgs.push(
        value === undefined ? rawName : inlineValue ? `${rawName}=${value}` : rawName,
        ...(value === undefined || inlineValue ? [] : [value]),
      )
    }
  }
  return {
    words: tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : [])),
    configArgs,
    text(option) {
      const [value, second] = values.get(option) ?? []
      if (second !== undefined) throw misuse(`--${option} is given twice`)
      return value
    },
    texts: (option) => values.get(option) ?? [],
    isSet: (option) => values.has(option),
  }
}

/** For a command that is not configured like the bridge. @throws BridgeError invalid_request */
export function refuseUnknown({ configArgs }: Call, own: readonly string[]): void {
  const [unknown] = configArgs
  if (unknown === undefined) return
  const [flag = ''] = unknown.split('=')
  throw notHere(flag, suggest(flag, own))
}

const suggest = (flag: string, own: readonly string[]): string | undefined =>
  closest(
    flag,
    [...own, 'help'].map((name) => `--${name}`),
  )

const notHere = (flag: string, meant: string | undefined): BridgeError =>
  misuse(`${flag} is not an option here${meant === undefined ? '' : `: did you mean ${meant}?`}`)

/** @throws BridgeError invalid_request */
export function refuseWords(words: readonly string[]): void {
  if (words.length > 0) throw misuse(`${JSON.stringify(words[0])} is one word too many`)
}
