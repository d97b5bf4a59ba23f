import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'

const program = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

export interface Run {
  readonly exitCode: number | null
  readonly out: string
  readonly error: string
}

/** Starts `sidecast` as a process of its own that knows only this environment. */
export function startSidecast(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd: string = tmpdir(),
): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [program, ...args], { cwd, env: { PATH: process.env.PATH, ...env }, stdio: 'pipe' })
}

/** Runs it to its end. */
export async function runSidecast(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  { input = '', cwd }: { readonly input?: string; readonly cwd?: string } = {},
): Promise<Run> {
  const child = startSidecast(args, env, cwd)
  child.stdin.end(input)
  const [out, error] = await Promise.all([text(child.stdout), text(child.stderr), child.exitCode ?? once(child, 'close')])
  // What somebody may cause must not look like a defect.
  expect(error).not.toMatch(/^\s+at .*:\d+:\d+/m)
  return { exitCode: child.exitCode, out, error }
}
