/** How many moments (in milliseconds) fall into each 100 ms that has any. */
export function perSlice(moments: readonly number[]): ReadonlyMap<number, number> {
  const slices = new Map<number, number>()
  for (const moment of moments.toSorted((one, other) => one - other)) {
    const slice = Math.floor(moment / 100)
    slices.set(slice, (slices.get(slice) ?? 0) + 1)
  }
  return slices
}
