import { ratio, rounded } from './report.ts'
import { type Run, size } from './run.ts'

/** One number of what a round gave. */
type Choice<Result> = (result: Result) => number

/** The middle one; of an even number, the lower of the two. */
function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor((values.length - 1) / 2)] ?? Number.NaN
}

/** What came of one contender, round by round, beside the first of them in the same rounds. */
export class Outcome<Result> {
  readonly server: string
  readonly #results: readonly Result[]
  readonly #first: readonly Result[]

  constructor(server: string, results: readonly Result[], first: readonly Result[]) {
    this.server = server
    this.#results = results
    this.#first = first
  }

  value(choose: Choice<Result>): number {
    return rounded(median(this.#results.map(choose)))
  }

  /** To the first contender, or to another of its numbers. What slows a round down slows both: the median of the ratios, not a ratio of medians. */
  ofFirst(choose: Choice<Result>, chooseOfFirst: Choice<Result> = choose): string {
    return ratio(
      median(this.#first.flatMap((first, round) => this.#results.slice(round, round + 1).map((own) => choose(own) / chooseOfFirst(first)))),
      1,
    )
  }

  /** To another of its own numbers. */
  ofOwn(choose: Choice<Result>, other: Choice<Result>): string {
    return ratio(median(this.#results.map((own) => choose(own) / other(own))), 1)
  }

  /** The lowest and the highest; nothing for a single round. */
  spread(choose: Choice<Result>): string {
    const values = this.#results.map(choose)
    return values.length === 1 ? '' : `${rounded(Math.min(...values))} to ${rounded(Math.max(...values))}`
  }
}

/**
 * All contenders one after the other, and that again in each round: a busy moment of the machine does not fall on one of them alone.
 * `full`: how many rounds a full run has.
 */
export async function inRounds<Contender extends { readonly name: string }, Result>(
  run: Run,
  full: number,
  contenders: readonly Contender[],
  measure: (contender: Contender) => Promise<Result>,
): Promise<readonly Outcome<Result>[]> {
  const rounds = size(run, 'rounds', 1, full)
  const results = contenders.map((): Result[] => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      process.stderr.write(`  ${contender.name}${rounds > 1 ? `, round ${round + 1} of ${rounds}` : ''}\n`)
      results[index]?.push(await measure(contender))
    }
  }
  return contenders.map(({ name }, index) => new Outcome(name, results[index] ?? [], results[0] ?? []))
}
