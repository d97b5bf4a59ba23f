import type { IncomingMessage } from 'node:http'
import type { Publisher } from '../../core/access.ts'
import { BridgeError, type ErrorCode, toBridgeError } from '../../errors.ts'
import { type ApiKey, findApiKey, looksLikeToken, presentedKey, toHint } from './api-key.ts'
import { SeenRequests, toleranceSeconds } from './seen-requests.ts'
import { replayed, SignedRequest, type SigningKey } from './signed-request.ts'

export interface AuthenticatorOptions {
  /** Those that are in force now. */
  readonly apiKeys: () => readonly ApiKey[]
  readonly signingKeys: readonly SigningKey[]
  /** Whose service token (JWT) it is; absent: none is taken. @throws BridgeError a `token_…` code, unavailable */
  readonly verifyServiceToken?: (token: string) => Promise<Publisher>
  /**
   * Whether a signed request that this process takes for new is new to all others, those that share its log and those before it; they know it from then on, for so long.
   * @throws BridgeError log_unavailable
   */
  readonly rememberRequest: (content: string, forMs: number) => Promise<boolean>
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Longer than any timestamp is taken, by the clocks of all nodes. */
const rememberMs = (2 * toleranceSeconds + 60) * 1000

/** Who calls, and what is counted for: the name of the key, or that it was a token, of which there are any number. */
export interface Caller {
  readonly publisher: Publisher
  readonly credential: string
}

/** Who calls the ingress. A login token of a browser is nobody here. */
export class Authenticator {
  readonly #options: AuthenticatorOptions
  readonly #seen: SeenRequests

  constructor(options: AuthenticatorOptions) {
    this.#options = options
    this.#seen = new SeenRequests(options.now)
  }

  /** By the headers alone; a signed request shows who has signed it with its body. @throws BridgeError a code of 401; unavailable */
  async authenticate(request: IncomingMessage): Promise<Caller | SignedRequest> {
    const { apiKeys, verifyServiceToken } = this.#options
    const signed = this.#readSigned(request)
    if (signed !== undefined) return signed
    const key = presentedKey(request)
    const publisher = findApiKey(apiKeys(), key)
    if (publisher !== undefined) return { publisher, credential: publisher.name }
    if (verifyServiceToken === undefined || !looksLikeToken(key) || request.headers.authorization === undefined)
      throw new BridgeError('api_key_invalid', toHint(key))
    return { publisher: await verifyServiceToken(key).catch(refuseToken), credential: 'service token' }
  }

  /** @throws BridgeError signature_invalid, signature_replayed, rate_limited, log_unavailable */
  async verifySigned(signed: SignedRequest, body: Uint8Array): Promise<Caller> {
    const { signingKeys, rememberRequest } = this.#options
    const { publisher, content } = signed.verify(body, signingKeys, this.#seen)
    // Before it is carried out: whatever ends this process then, the same request does not come again.
    if (!(await rememberRequest(content, rememberMs))) throw replayed()
    return { publisher, credential: publisher.name }
  }

  #readSigned(request: IncomingMessage): SignedRequest | undefined {
    const signed = SignedRequest.of(request, this.#options.now())
    if (signed === undefined) return undefined
    const { authorization, 'x-api-key': apiKey } = request.headers
    // Which of them would be asked? A proxy in front may have checked the other one.
    if (authorization !== undefined || apiKey !== undefined)
      throw new BridgeError('signature_invalid', 'A signed request carries no other credential: leave out Authorization and X-API-Key.')
    if (this.#options.signingKeys.length === 0)
      throw new BridgeError('signature_invalid', 'Signed requests are not taken here: SIDECAST_SIGNING_KEYS is not set.')
    return signed
  }
}

/** What is wrong with a service token, for its service; the reasons of the verifier are for operators. */
const tokenReasons: Partial<Readonly<Record<ErrorCode, string>>> = {
  token_malformed: 'It is not a well-formed JWT.',
  token_expired: 'It has expired.',
  token_not_active: 'It is not valid yet: compare the clocks.',
  token_signature: 'It was not signed by a key of SIDECAST_SERVICE_JWT_….',
  token_issuer: 'It comes from another issuer than SIDECAST_SERVICE_JWT_ISSUER.',
  token_audience: 'It is not for SIDECAST_SERVICE_JWT_AUDIENCE: a login token of a browser, perhaps?',
  token_claims: 'It lacks a claim that is needed (exp; sub or client_id), or has one of the wrong kind.',
}

function refuseToken(thrown: unknown): never {
  const error = toBridgeError(thrown)
  const reason = tokenReasons[error.code]
  throw reason === undefined ? error : new BridgeError('service_token_invalid', reason)
}
