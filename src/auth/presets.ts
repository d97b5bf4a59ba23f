import type { TokenAlgorithm } from './keys.ts'

/** What the tokens of a well-known issuer are like: defaults that explicit settings replace, one by one. */
export interface Preset {
  readonly userClaims: readonly string[]
  readonly roomTemplates: readonly string[]
  /** What it can be told to sign with. */
  readonly algorithms: readonly TokenAlgorithm[]
  /** What tells its login tokens from its other tokens, which the same key signs (RFC 8725 3.12). */
  readonly requiredClaims?: readonly string[]
  readonly types?: readonly string[]
  readonly numericStringDates?: boolean
}

const secret = ['HS256', 'HS384', 'HS512'] as const
const rsa = ['RS256', 'RS384', 'RS512'] as const
const ecdsa = ['ES256', 'ES384', 'ES512'] as const
const pss = ['PS256', 'PS384', 'PS512'] as const

const presets = {
  // Roles only where the user model adds them (getJWTCustomClaims).
  'laravel-tymon': {
    userClaims: ['sub'],
    roomTemplates: ['role:{roles[]}'],
    algorithms: [...secret, ...rsa, ...ecdsa],
  },
  'laravel-passport': {
    userClaims: ['sub'],
    roomTemplates: ['scope:{scopes[]}'],
    algorithms: ['RS256'],
  },
  'symfony-lexik': {
    userClaims: ['username', 'sub'],
    roomTemplates: ['role:{roles[]}'],
    algorithms: [...rsa, ...ecdsa, ...secret],
  },
  // Spring Authorization Server and its resource servers, and JHipster, whose `auth` is a text of roles.
  spring: {
    userClaims: ['sub'],
    roomTemplates: ['scope:{scope[ ]}', 'scope:{scp[ ]}', 'role:{roles[]}', 'role:{auth[ ]}'],
    algorithms: [...rsa, ...ecdsa, ...pss, ...secret],
  },
  // `sub` is missing since version 25 where the client scope "basic" is off. `typ` (the claim) is ID or Refresh in its other tokens.
  keycloak: {
    userClaims: ['sub', 'preferred_username'],
    roomTemplates: ['role:{realm_access.roles[]}'],
    algorithms: [...rsa, ...pss, ...ecdsa],
    requiredClaims: ['typ=Bearer'],
  },
  // `JWT` by default, `at+jwt` where the API uses the profile of RFC 9068.
  auth0: {
    userClaims: ['sub'],
    roomTemplates: ['permission:{permissions[]}'],
    algorithms: ['RS256', 'PS256'],
    types: ['JWT', 'at+jwt'],
  },
  cognito: {
    userClaims: ['sub'],
    roomTemplates: ['group:{cognito:groups[]}'],
    algorithms: ['RS256'],
    requiredClaims: ['token_use=access'],
  },
  // PHP: numbers may have become texts on their way through the database.
  wordpress: {
    userClaims: ['data.user.id'],
    roomTemplates: ['role:{data.user.roles[]}'],
    algorithms: [...secret, ...rsa],
    numericStringDates: true,
  },
} as const satisfies Readonly<Record<string, Preset>>

export type PresetName = keyof typeof presets

export const presetNames: readonly PresetName[] = [
  'laravel-tymon',
  'laravel-passport',
  'symfony-lexik',
  'spring',
  'keycloak',
  'auth0',
  'cognito',
  'wordpress',
]

export const presetOf = (name: PresetName): Preset => presets[name]
