/** A line of a table: what was measured, and the numbers. */
export type Row = Readonly<Record<string, string | number>>

export interface Table {
  readonly title: string
  readonly rows: readonly Row[]
}

export function printTable({ title, rows }: Table): void {
  process.stdout.write(`${title}\n`)
  console.table(rows)
}

export function toMarkdown({ title, rows }: Table): string {
  const columns = Object.keys(rows[0] ?? {})
  const line = (cells: readonly unknown[]): string => `| ${cells.join(' | ')} |`
  return [
    `**${title}**`,
    '',
    line(columns),
    line(columns.map(() => '---')),
    ...rows.map((row) => line(columns.map((column) => row[column] ?? ''))),
  ].join('\n')
}

/** Three digits that say something; the rest is noise. */
export function rounded(value: number): number {
  return value >= 1000 ? Math.round(value) : Number(value.toPrecision(3))
}

export const ratio = (value: number, to: number): string => `×${(value / to).toFixed(2)}`
