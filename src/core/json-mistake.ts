/** Texts of up to this length are searched for a mistake whose place V8 does not tell: a search is a dozen times the work of the parse. */
const maxSearchedLength = 16_384

/** What is wrong with a text that `JSON.parse` refuses, and where, without repeating any of it: it may hold secrets. */
export function describeMistake(text: string, thrown: unknown): string {
  const position = positionIn(text, thrown) ?? (text.length <= maxSearchedLength ? search(text) : undefined)
  if (position === undefined) return 'its syntax is wrong'
  const before = text.slice(0, position).split('\n')
  const place = `at position ${position} (line ${before.length} column ${(before.at(-1)?.length ?? 0) + 1})`
  return position === text.length ? `it ends too early, ${place}` : `it goes wrong ${place}`
}

/** What V8 says of it; undefined for a token that must not stand where it stands. */
function positionIn(text: string, thrown: unknown): number | undefined {
  const message = thrown instanceof Error ? thrown.message : ''
  if (message.startsWith('Unexpected end')) return text.length
  const [, position] = /at position (\d+)/.exec(message) ?? []
  return position === undefined ? undefined : Number(position)
}

/** A beginning of the text that stops before the mistake is wrong at its own end at most; each longer one is wrong before it. */
function search(text: string): number {
  let [right, wrong] = [0, text.length]
  while (wrong - right > 1) {
    const middle = Math.floor((right + wrong) / 2)
    if (isWrongWithin(text.slice(0, middle))) wrong = middle
    else right = middle
  }
  return right
}

function isWrongWithin(text: string): boolean {
  try {
    JSON.parse(text)
    return false
  } catch (error) {
    return positionIn(text, error) !== text.length
  }
}
