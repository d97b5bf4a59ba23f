import { maxTokenLength } from '../auth/jws.ts'

const whole = 'copy the whole token again'

/** What is often given in the place of a token, by how it looks: the first one that fits says what to do. */
const mistakes: readonly ((token: string, parts: readonly string[]) => string | undefined)[] = [
  (token) => (token === '' ? 'nothing was given: is the variable empty, or did the command in front of the pipe print nothing?' : undefined),
  (token) =>
    /^(authorization\s*:\s*)?bearer\b/i.test(token)
      ? 'leave out the word Bearer and what stands in front of it: they belong to the HTTP header, the token begins behind them'
      : undefined,
  // With others in between it is rather a piece of JSON.
  (token) => (/^["'`][^"'`]*["'`]?,?$|^[^"'`]+["'`],?$/.test(token) ? 'leave out the quotes around it: they are not part of the token' : undefined),
  (token) => (/^[{[]/.test(token) ? jsonCure(token) : undefined),
  (token) => (/\s/.test(token) ? `there are spaces or line ends within it: it was wrapped, or copied with something beside it; ${whole}` : undefined),
  (token) =>
    /^[\w+/=-]*(\.[\w+/=-]*){2}$/.test(token) && /[+/]|=(\.|$)/.test(token)
      ? 'it is written in base64 in the place of base64url (RFC 7515 2): let the application write - for +, _ for / and no = at the end of a part; JWT libraries do'
      : undefined,
  (token) => (/^\d+\|/.test(token) ? `it is a token of Laravel Sanctum, which says nothing in itself: ${asked}` : undefined),
  (_, [first = '', ...rest]) => {
    if (rest.length > 1) return undefined
    if (namesOf(first).includes('mac'))
      return 'Laravel has encrypted it, as it does with its cookies: take that cookie out of the encryption (EncryptCookies), and give what is in it'
    // The beginning of every JSON object that is written without spaces.
    if (first.startsWith('eyJ') || namesOf(first).includes('alg'))
      return `it ends before its ${rest.length === 0 ? 'second' : 'third'} part: it was cut; ${whole}`
    return rest.length === 0 ? `it is an opaque token, not a JWT: ${asked}` : undefined
  },
  (_, parts) =>
    parts.length === 5
      ? 'five parts are an encrypted token (JWE), which cannot be used: let the application issue one that is only signed'
      : undefined,
  (_, { length }) => (length === 3 ? undefined : `it has ${length} parts between dots where a token has three: ${whole}, and nothing else`),
  (token) => {
    const foreign = /[^\w.-]/u.exec(token)?.[0]
    return foreign === undefined ? undefined : `it holds ${JSON.stringify(foreign)}, which no token does: something was copied with it; ${whole}`
  },
  ({ length }) =>
    length > maxTokenLength
      ? `let the application say less in it: names of permissions, profiles and pictures make tokens long, and above ${maxTokenLength} characters none is looked at`
      : undefined,
  (_, parts) => (parts[0] === '' || parts[1] === '' ? `its ${parts[0] === '' ? 'first' : 'second'} part is empty: ${whole}` : undefined),
]

const asked = 'the application can be asked about it (SIDECAST_AUTHORIZE_CONNECT_URL), or its issuer (SIDECAST_INTROSPECTION_URL)'

/** What to do about a text that is no token. `problem`: what the bridge says about it. */
export function formCure(token: string, problem: string): string {
  const parts = token.split('.')
  for (const cure of mistakes.map((mistake) => mistake(token, parts))) if (cure !== undefined) return cure
  if (problem.includes('signature')) return `its signature was cut or changed: ${whole}`
  if (problem.includes('crit')) return 'let the application leave crit out of the header: it asks for extensions that the bridge does not have'
  if (problem.includes('no alg')) return 'let the application sign it with a JWT library, which writes the algorithm (alg) into the header'
  if (problem.includes('twice')) return 'let the application write each name once: of two values one reader takes the first, another one the last'
  return problem.includes('payload')
    ? `its second part is not base64url of a JSON object: it was changed on its way (${whole}), or it holds another token: give the inner one`
    : `its first part is not base64url of a JSON object: the beginning is missing, or it was changed on its way; ${whole}`
}

/** A JSON text that holds a token, or is a way to write one. */
function jsonCure(text: string): string {
  const value = parsed(text)
  if (typeof value === 'object' && value !== null && 'payload' in value && ('signature' in value || 'signatures' in value))
    return 'it is in the JSON form of a signature (RFC 7515 7.2): let the application issue the compact one, three parts with dots between them'
  const places = tokensIn(value, '', 3)
  const place = places.find((one) => /access/i.test(one)) ?? places[0]
  return place === undefined
    ? 'this is JSON, not a token: give the token as it was before somebody decoded it'
    : `this is the JSON that the token came in: give the value of ${place} alone, without quotes`
}

/** Where in it there are texts that look like tokens. */
function tokensIn(value: unknown, place: string, depth: number): readonly string[] {
  if (typeof value === 'string') return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(value) && namesOf(value.split('.')[0] ?? '').includes('alg') ? [place] : []
  if (typeof value !== 'object' || value === null || depth === 0) return []
  return Object.entries(value).flatMap(([name, member]) => tokensIn(member, place === '' ? name : `${place}.${name}`, depth - 1))
}

/** The names in a JSON object that is written in base64. */
function namesOf(part: string): readonly string[] {
  const value = parsed(Buffer.from(part, 'base64url').toString())
  return typeof value === 'object' && value !== null ? Object.keys(value) : []
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
