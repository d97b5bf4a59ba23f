import { toKey } from './entries.ts'
import { defaultText, isSecret, schema, variableNames } from './reference.ts'
import { type ConfigSources, entriesOf, readSettings, type Setting } from './sources.ts'

const mask = '********'

/** What is in force, as a line `SIDECAST_NAME=value  # where from` for each variable that has a value. Secrets are masked. */
export function maskedConfig(sources: ConfigSources): string {
  const { settings } = readSettings(sources)
  const lines = variableNames.flatMap((name) => {
    const setting = settings.get(name)
    const entries = entriesOf(setting)
    if (entries !== undefined)
      return entries.flatMap(({ place, fields }) => [
        `SIDECAST_${name}  # ${place}`,
        ...[...fields].map(([field, { value }]) => `  ${toKey(field)}=${/^(SECRET|KEY|SHA256)$/.test(field) ? mask : [value].flat().join(',')}`),
      ])
    const value = setting === undefined ? defaultText(name) : isSecret(name) ? masked(name, setting.value) : [setting.value].flat().join(',')
    return value === undefined ? [] : [`SIDECAST_${name}=${value}  # ${setting?.origin.text ?? 'default'}`]
  })
  return lines.join('\n')
}

/** Of keys to the ingress the names and scopes are worth seeing. */
function masked(name: string, value: Setting['value']): string {
  if (name !== 'API_KEYS' && name !== 'SIGNING_KEYS') return mask
  const keys = schema.shape[name].safeParse(value).data ?? []
  return keys.map((key) => `${key.name}:${mask}:${key.scopes.join('+')}`).join(',') || mask
}
