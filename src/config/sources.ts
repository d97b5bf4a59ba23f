import { dirname, resolve } from 'node:path'
import { readText, readYaml, type YamlEntry } from './file.ts'
import { fileOnlyNames, listNames, secretNames, variableNames } from './reference.ts'

/** Where configuration comes from; flags over environment over file. */
export interface ConfigSources {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The folder that relative paths start from, but for those in a configuration file: they start from its folder. */
  readonly cwd: string
}

/** One variable as it was written. `name` is without `SIDECAST_`; `folder` is what a relative path in the value starts from. */
export interface Setting {
  readonly name: string
  readonly value: string | readonly string[] | readonly Entry[]
  readonly origin: Origin
  readonly folder: string
  /** The file that holds the value, when it was given as one. Absolute. */
  readonly path?: string
}

/** One map in a list of a configuration file, such as an issuer; its settings by their names within it. */
export interface Entry {
  /** `sidecast.yaml:jwt.issuers[0]` */
  readonly place: string
  readonly fields: ReadonlyMap<string, Setting>
}

/** The maps that a setting consists of; undefined when it was written as text. */
export function entriesOf(setting: Setting | undefined): readonly Entry[] | undefined {
  const value: readonly unknown[] = Array.isArray(setting?.value) ? setting.value : []
  const entries = value.filter((item): item is Entry => typeof item === 'object')
  return entries.length === 0 ? undefined : entries
}

export interface Origin {
  readonly kind: 'flag' | 'environment' | 'file'
  /** As the operator finds it: `flag --jwt-secret`, `environment`, `sidecast.yaml:jwt.secret`. */
  readonly text: string
}

/** One thing that is wrong. `detail` says what and what cures it. */
export interface Problem {
  readonly name: string
  readonly origin?: Origin | undefined
  readonly detail: string
}

export interface Settings {
  /** By variable; secrets that were given as files stand here with what the files hold. */
  readonly settings: ReadonlyMap<string, Setting>
  readonly problems: readonly Problem[]
}

interface Reading {
  readonly settings: readonly Setting[]
  readonly problems: readonly Problem[]
}

const toFlag = (name: string): string => `--${name.toLowerCase().replaceAll('_', '-')}`
const known: readonly string[] = [...variableNames, ...secretNames.map((name) => `${name}_FILE`)]
// The variables that Kubernetes sets in every pod for a Service whose name begins with "sidecast".
const fromKubernetes = /(^|_)(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/
// Not configuration of the bridge: the tests' services, and what `sidecast publish` talks to.
const others = /^(TEST_.*|URL|API_KEY)$/

/** The flags of the configuration, without their dashes. Each takes a value. */
export const flagNames: readonly string[] = [...known, 'CONFIG'].map((name) => toFlag(name).slice(2))

/** Everything that was given, and everything that is wrong about how it was given. Nothing is thrown, so that all of it is told at once. */
export function readSettings(sources: ConfigSources): Settings {
  const flags = fromFlags(sources)
  const environment = fromEnvironment(sources)
  // A later setting replaces an earlier one.
  const path = [...environment.settings, ...flags.settings].findLast(({ name, value }) => name === 'CONFIG' && value !== '')
  const file = path === undefined ? { settings: [], problems: [] } : fromFile(path)
  const given = new Map<string, Setting>()
  const problems = [...file.problems, ...environment.problems, ...flags.problems]
  for (const setting of [...file.settings, ...environment.settings, ...flags.settings]) {
    const { name, value, origin } = setting
    const problem = nameProblem(setting) ?? (value.length === 0 ? 'is empty: give a value or leave it out' : undefined)
    if (problem !== undefined) problems.push({ name, origin, detail: problem })
    else given.set(name, setting)
  }
  for (const secret of secretNames) readSecretFile(secret, given, (name, origin, detail) => problems.push({ name, origin, detail }))
  given.delete('CONFIG')
  return { settings: given, problems }
}

function nameProblem({ name, value, origin }: Setting): string | undefined {
  if (origin.kind !== 'file' && fileOnlyNames.some((one) => one === name))
    return `is a list that stands in a configuration file: ${name.toLowerCase().replace('_', '.')}`
  if (known.includes(name) || (name === 'CONFIG' && origin.kind !== 'file')) return undefined
  if (origin.kind === 'environment' && (fromKubernetes.test(name) || String(value).includes('tcp://')))
    return 'is not known: if Kubernetes set it for a Service of that name, give the pod enableServiceLinks: false'
  const bare = name.replace(/^SIDECAST_/, '')
  if (origin.kind !== 'environment' && bare !== name && known.includes(bare)) return `is not known: write it as ${spell(bare, origin.kind)}`
  const suggestion = closest(name, known)
  return suggestion === undefined ? 'is not known: remove it' : `is not known: did you mean ${spell(suggestion, origin.kind)}?`
}

function spell(name: string, kind: Origin['kind']): string {
  switch (kind) {
    case 'flag':
      return toFlag(name)
    case 'environment':
      return `SIDECAST_${name}`
    case 'file':
      return name.toLowerCase()
    default:
      return kind satisfies never
  }
}

function fromFlags({ args, cwd }: ConfigSources): Reading {
  const settings: Setting[] = []
  const problems: Problem[] = []
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? ''
    const equals = arg.indexOf('=')
    const flag = equals < 0 ? arg : arg.slice(0, equals)
    const next = args[index + 1]
    const separate = equals < 0 && next !== undefined && !next.startsWith('--')
    const value = separate ? next : arg.slice(flag.length + 1)
    if (separate && flag.startsWith('--')) index++
    const name = flag.slice(2).replaceAll('-', '_').toUpperCase()
    const origin: Origin = { kind: 'flag', text: `flag ${flag}` }
    if (!flag.startsWith('--'))
      problems.push({ name: '', detail: `the argument ${JSON.stringify(flag)} stands alone: flags are --name value or --name=value` })
    else if (equals < 0 && !separate && nameProblem({ name, value, origin, folder: cwd }) === undefined)
      problems.push({ name, origin, detail: `has no value: ${flag} VALUE, or ${flag}=VALUE when the value begins with --` })
    else if (settings.some((earlier) => earlier.name === name))
      problems.push({ name, origin, detail: 'is given twice: a list is one value with commas' })
    else settings.push({ name, value, origin, folder: cwd })
  }
  return { settings, problems }
}

function fromEnvironment({ env, cwd }: ConfigSources): Reading {
  const settings = Object.entries(env).flatMap(([variable, value]): readonly Setting[] => {
    const name = variable.slice('SIDECAST_'.length)
    if (!variable.startsWith('SIDECAST_') || value === undefined || others.test(name)) return []
    return [{ name, value, origin: { kind: 'environment', text: 'environment' }, folder: cwd }]
  })
  return { settings, problems: [] }
}

function fromFile({ value: path, origin, folder }: Setting): Reading {
  const file = resolve(folder, String(path))
  const content = readYaml(file)
  if (!content.readable) return { settings: [], problems: [{ name: 'CONFIG', origin, detail: `${path} ${content.reason}` }] }
  const settings: Setting[] = []
  const problems: Problem[] = []
  for (const { keys, value } of content.entries) {
    const name = keys.map(toVariable).join('_')
    const place: Origin = { kind: 'file', text: `${path}:${keys.join('.')}` }
    const setting = { name, origin: place, folder: dirname(file) }
    const isList = listNames.some((one) => one === name)
    const problem = settings.some((earlier) => earlier.name === name) ? 'is given twice in this file, in two spellings' : undefined
    if (problem !== undefined) problems.push({ name, origin: place, detail: problem })
    else if (isTexts(value)) settings.push({ ...setting, value })
    else if (value === undefined || !isList) problems.push({ name, origin: place, detail: notTexts })
    else settings.push({ ...setting, value: value.map(({ entries }, index) => toEntry(setting, `${place.text}[${index}]`, entries, problems)) })
  }
  return { settings, problems }
}

const notTexts = 'must be one text or a list of texts'

const isTexts = (value: YamlEntry['value']): value is string | readonly string[] =>
  typeof value === 'string' || (Array.isArray(value) && value.every((item) => typeof item === 'string'))

function toEntry(list: Pick<Setting, 'name' | 'folder'>, place: string, entries: readonly YamlEntry[], problems: Problem[]): Entry {
  const fields = new Map<string, Setting>()
  for (const { keys, value } of entries) {
    const name = keys.map(toVariable).join('_')
    const origin: Origin = { kind: 'file', text: `${place}.${keys.join('.')}` }
    const problem = fields.has(name)
      ? 'is given twice, in two spellings'
      : !isTexts(value)
        ? notTexts
        : value.length === 0
          ? 'is empty: give a value or leave it out'
          : undefined
    if (problem !== undefined) problems.push({ name: list.name, origin, detail: problem })
    if (isTexts(value)) fields.set(name, { name, value, origin, folder: list.folder })
  }
  return { place, fields }
}

/** `userClaim`, `user-claim` and `user_claim` are one key; dots are levels. */
const toVariable = (key: string): string =>
  key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[-.]/g, '_')
    .toUpperCase()

/** Puts the content of the file in the place of its path. */
export function readSecretFile(name: string, given: Map<string, Setting>, onProblem: (name: string, origin: Origin, detail: string) => void): void {
  const file = given.get(`${name}_FILE`)
  if (file === undefined) return
  given.delete(file.name)
  const { origin } = file
  const refuse = (detail: string): void => onProblem(file.name, origin, detail)
  const twin = given.get(name)
  if (twin !== undefined) {
    refuse(
      `stands beside ${origin.kind === 'file' && twin.origin.kind === 'file' ? twin.origin.text : `SIDECAST_${name} (${twin.origin.text})`}: give one of the two`,
    )
    return
  }
  const path = resolve(file.folder, String(file.value))
  const text = readText(path)
  if (!text.readable) {
    refuse(`${path} ${text.reason}`)
    return
  }
  const value = withoutLineEnd(text.content)
  const fromPath: Origin = { kind: origin.kind, text: `${path}, by ${origin.kind === 'environment' ? `SIDECAST_${file.name}` : origin.text}` }
  if (value === '') refuse(`${path} is empty`)
  else given.set(name, { name, value, origin: fromPath, folder: file.folder, path })
}

/** Editors and `echo` put a line end behind a secret that does not belong to it. */
export const withoutLineEnd = (content: string): string => content.replace(/\r?\n$/, '')

/** The candidate that was probably meant. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const [best] = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .filter(({ distance }) => distance <= 3 && distance * 2 < word.length)
    .sort((a, b) => a.distance - b.distance)
  return best?.candidate ?? candidates.find((candidate) => candidate.endsWith(`_${word}`))
}

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1]
    for (const [column, other] of [...to].entries()) {
      next.push(Math.min((row[column] ?? 0) + (letter === other ? 0 : 1), (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
