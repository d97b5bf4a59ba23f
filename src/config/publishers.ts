import { BridgeError } from '../errors.ts'
import { type EntryReading, readEntries } from './entries.ts'
import { type ApiKey, checkApiKeys, checkSigningKeys, hashKey, parseSha256, type SigningKey } from './publisher-values.ts'
import { apiKeySchema, signingKeySchema } from './reference.ts'
import { entriesOf, type Problem, type Setting } from './sources.ts'

interface Reading<Key> {
  readonly keys: readonly Key[]
  readonly problems: readonly Problem[]
}

/** API keys that are written as maps; undefined when they are not. */
export function readApiKeys(setting: Setting | undefined): Reading<ApiKey> | undefined {
  const entries = entriesOf(setting)
  if (entries === undefined) return undefined
  const read = readEntries('API_KEYS', entries, apiKeySchema, ['KEY'])
  return toKeys(read, setting, checkApiKeys, ({ NAME: name, KEY: key, SHA256: sha256, SCOPES: scopes, ROOMS: rooms, EVENTS: events }) => {
    if ((key === undefined) === (sha256 === undefined)) throw new BridgeError('invalid_config', 'needs one of key, keyFile and sha256')
    return { name, sha256: sha256 === undefined ? hashKey(key ?? '', name) : parseSha256(sha256, name), scopes, ...limits(rooms, events) }
  })
}

/** The same for keys that sign requests. */
export function readSigningKeys(setting: Setting | undefined): Reading<SigningKey> | undefined {
  const entries = entriesOf(setting)
  if (entries === undefined) return undefined
  const read = readEntries('SIGNING_KEYS', entries, signingKeySchema, ['SECRET'])
  return toKeys(read, setting, checkSigningKeys, ({ NAME: name, SECRET: secret, SCOPES: scopes, ROOMS: rooms, EVENTS: events }) => ({
    name,
    secret,
    scopes,
    ...limits(rooms, events),
  }))
}

function limits(rooms: ApiKey['rooms'], events: ApiKey['events']): Pick<ApiKey, 'rooms' | 'events'> {
  return { ...(rooms === undefined ? {} : { rooms }), ...(events === undefined ? {} : { events }) }
}

function toKeys<Values, Key>(
  { entries, problems }: EntryReading<Values>,
  setting: Setting | undefined,
  checkAll: (keys: readonly Key[]) => readonly Key[],
  toKey: (values: Values) => Key,
): Reading<Key> {
  const name = setting?.name ?? ''
  const found = [...problems]
  const attempt = <T>(make: () => T, place: string | undefined): readonly T[] => {
    try {
      return [make()]
    } catch (error) {
      if (!(error instanceof BridgeError)) throw error
      found.push({ name, origin: place === undefined ? setting?.origin : { kind: 'file', text: place }, detail: error.message })
      return []
    }
  }
  const keys = entries.flatMap(({ values, place }) => attempt(() => toKey(values), place))
  attempt(() => checkAll(keys), undefined)
  return { keys, problems: found }
}
