/**
 * Moments for so many things over a period, in no order, in milliseconds from its beginning: each has an equal slice of it, and falls anywhere into its slice.
 * So they are even however many processes do the same at once, and none of them keeps step with another.
 */
export function spread(count: number, periodMs: number, random: () => number): readonly number[] {
  const moments = Array.from({ length: count }, (_, index) => ((index + random()) * periodMs) / count)
  // Who came first is not who goes first (Fisher and Yates).
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const [one = 0, two = 0] = [moments[last], moments[other]]
    moments[last] = two
    moments[other] = one
  }
  return moments
}
