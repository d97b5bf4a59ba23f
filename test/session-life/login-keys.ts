import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createTokenVerifier, type TokenVerifier } from '../../src/auth/tokens.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { eddsa, issuer, signJws } from '../auth/sign.ts'
import { type Token, toleranceMs } from './model.ts'

/** How long after a fetch another one is not made. */
const coolDownMs = 1000

interface LoginKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly jwk: object
}

/**
 * The keys of an issuer that publishes them at an address, and the one verifier that fetches them there: of a key that comes or goes it hears when a token
 * makes it ask. Says what must come of a signature.
 */
export class LoginKeys {
  readonly verifier: TokenVerifier
  readonly counts = { rotated: 0, retired: 0, early: 0 }
  readonly #now: () => number
  readonly #all: LoginKey[] = []
  #published: readonly LoginKey[] = []
  /** What was fetched last. */
  #known: readonly LoginKey[] = []
  #fetchedAt = Number.NEGATIVE_INFINITY

  constructor(now: () => number, onFailure: (error: unknown) => void) {
    this.#now = now
    this.rotate(false)
    this.verifier = createTokenVerifier({
      issuers: [issuer({ keys: [{ kind: 'jwks', url: 'https://issuer.example/jwks' }], clockToleranceMs: toleranceMs })],
      reservedAudiences: [],
      now,
      onFailure,
      timing: { coolDownMs },
      fetch: async () => Response.json({ keys: this.#published.map(({ jwk }) => jwk) }),
    })
  }

  /** A new key signs from now on; the one before it is good for a while, or not any more. */
  rotate(keepOld: boolean): void {
    const kid = `k${this.#all.length}`
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const key = { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid } }
    this.#all.push(key)
    this.#published = [key, ...(keepOld ? this.#published.slice(0, 1) : [])]
  }

  /** The name of the key that signs, or of one that is not published any more, as long as there is one. */
  choose(foreign: boolean): string {
    const old = foreign ? this.#all.find((key) => !this.#published.includes(key)) : undefined
    return (old ?? this.#published[0])?.kid ?? ''
  }

  sign(kid: string, claims: object): string {
    const key = this.#all.find((one) => one.kid === kid)
    if (key === undefined) throw new Error(`there is no key ${kid}`)
    return signJws({ alg: 'EdDSA', kid }, claims, eddsa(key.privateKey))
  }

  /** What must have come of the signature of a token. To be asked once after each that was verified: it may have made the verifier ask. */
  refusalOf({ key: kid, iat }: Token): ErrorCode | undefined {
    const isKnown = () => this.#known.some((key) => key.kid === kid)
    if (isKnown()) return undefined
    const now = this.#now()
    if (now - this.#fetchedAt >= coolDownMs) {
      const isFirst = this.#known.length === 0
      this.#fetchedAt = now
      this.#known = this.#published
      if (isKnown()) {
        if (!isFirst) this.counts.rotated++
        return undefined
      }
    }
    // Its key may be newer than the last fetch, and the next one will tell.
    const isYounger = iat >= this.#fetchedAt - toleranceMs
    if (!isYounger) this.counts.retired++
    else if (this.#published.some((key) => key.kid === kid)) this.counts.early++
    return isYounger ? 'unavailable' : 'token_signature'
  }
}
