import type { IssuerOptions } from '../auth/issuer.ts'
import { patternsOf } from '../auth/issuers.ts'
import type { BridgeError } from '../errors.ts'
import type { KnownKeys } from './known-keys.ts'

type RuleId =
  | 'form'
  | 'issuer'
  | 'keys'
  | 'signature'
  | 'dates'
  | 'expiry'
  | 'not-before'
  | 'life'
  | 'audience'
  | 'party'
  | 'type'
  | 'required'
  | 'claims'

/** One thing that the bridge asks of a token. */
export interface Rule {
  readonly id: RuleId
  readonly title: string
  readonly asks: (issuer: IssuerOptions | undefined, keys: readonly KnownKeys[]) => string
}

const listed = (values: readonly string[] = []): string => values.map((value) => JSON.stringify(value)).join(' or ')
const unlessSet = (values: readonly string[] | undefined, variable: string): string =>
  values === undefined || values.length === 0 ? `any, since SIDECAST_JWT_${variable} is not set` : listed(values)
const seconds = (ms = 0): string => `${ms / 1000} s`

/** In the order in which the bridge asks. */
export const rules: readonly Rule[] = [
  { id: 'form', title: 'form', asks: () => 'three base64url parts, the header names an algorithm' },
  {
    id: 'issuer',
    title: 'issuer',
    asks: (issuer) => `${issuer?.name}: ${unlessSet(issuer && patternsOf(issuer), 'ISSUER')}`,
  },
  {
    id: 'keys',
    title: 'keys',
    asks: (_, keys) => keys.map(({ from, keys: known }) => `${known.length} from ${from}${kidsOf(known)}`).join('; '),
  },
  {
    id: 'signature',
    title: 'signature',
    asks: (issuer, keys) => {
      const possible = [...new Set(keys.flatMap(({ keys: known }) => known.flatMap(({ algorithms }) => algorithms)))]
      const accepted = issuer?.algorithms ?? []
      return `possible were ${(accepted.length === 0 ? possible : possible.filter((one) => accepted.includes(one))).join(', ')}`
    },
  },
  {
    id: 'dates',
    title: 'dates',
    asks: (issuer) =>
      `seconds since 1970${issuer?.numericStringDates ? ', also as texts' : ''}; exp ${issuer?.requireExp ? 'is there' : 'may be missing'}`,
  },
  { id: 'expiry', title: 'expiry', asks: (issuer) => `not over, with a tolerance of ${seconds(issuer?.clockToleranceMs)}` },
  { id: 'not-before', title: 'not before', asks: (issuer) => `begun, with a tolerance of ${seconds(issuer?.clockToleranceMs)}` },
  {
    id: 'life',
    title: 'life',
    asks: (issuer) =>
      issuer?.maxLifeMs === undefined ? 'any, since SIDECAST_JWT_MAX_LIFE is not set' : `at most ${seconds(issuer.maxLifeMs)} from iat to exp`,
  },
  { id: 'audience', title: 'audience', asks: (issuer) => unlessSet(issuer?.audiences, 'AUDIENCE') },
  { id: 'party', title: 'party', asks: (issuer) => unlessSet(issuer?.authorizedParties, 'AUTHORIZED_PARTY') },
  { id: 'type', title: 'type', asks: (issuer) => unlessSet(issuer?.types, 'TYPE') },
  {
    id: 'required',
    title: 'required',
    asks: (issuer) => (issuer?.requiredClaims.length ? issuer.requiredClaims.join(', ') : 'nothing, since SIDECAST_JWT_REQUIRED_CLAIMS is not set'),
  },
  { id: 'claims', title: 'claims', asks: (issuer) => `user in ${issuer?.userClaims.join(' or ')}, rooms in ${issuer?.roomsClaim}` },
]

/** Which rule has refused. The verifier has one code for several of them; its messages name the setting. */
export function ruleOf({ code, message }: BridgeError): Rule {
  const id = idOf(code, message)
  const rule = rules.find((one) => one.id === id)
  if (rule === undefined) throw new Error(`no rule ${id}`)
  return rule
}

function idOf(code: BridgeError['code'], message: string): RuleId {
  switch (code) {
    case 'token_malformed':
      return 'form'
    case 'token_issuer':
      return 'issuer'
    case 'unavailable':
      return 'keys'
    case 'token_signature':
      return 'signature'
    case 'token_expired':
      return 'expiry'
    case 'token_not_active':
      return 'not-before'
    case 'token_audience':
      return message.includes('SIDECAST_JWT_AUTHORIZED_PARTY') ? 'party' : 'audience'
    default:
      if (/^the token has no exp|^the claim (exp|nbf|iat) is (not|\S+, which)/.test(message)) return 'dates'
      if (message.includes('(SIDECAST_JWT_MAX_LIFE)')) return 'life'
      if (message.includes('(SIDECAST_JWT_TYPE)')) return 'type'
      return message.includes('(SIDECAST_JWT_REQUIRED_CLAIMS)') ? 'required' : 'claims'
  }
}

function kidsOf(keys: KnownKeys['keys']): string {
  const kids = keys.flatMap(({ kid = [] }) => kid)
  return kids.length === 0 ? '' : ` (kid ${kids.join(', ')})`
}
