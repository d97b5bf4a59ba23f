import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { testEnvironment } from './support/bridge.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const temporary: string[] = []
const running: ChildProcess[] = []

afterEach(async () => {
  for (const child of running.splice(0)) {
    const closed = child.exitCode === null ? once(child, 'close') : undefined
    if (closed !== undefined && child.pid !== undefined) process.kill(-child.pid, 'SIGTERM')
    await closed
  }
  for (const folder of temporary.splice(0)) await rm(folder, { recursive: true, force: true })
})

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sidecast-package-'))
  temporary.push(folder)
  return folder
}

/** npm of this machine with the Node that runs the tests, and without what the npm around them has set for its own scripts. */
const environment = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|SIDECAST_|NODE_ENV$)/.test(name))),
  PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
}

/** What the package is built from, without what an earlier build has left. */
async function copyOfSources(): Promise<string> {
  const copy = await emptyFolder()
  const { files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const sources = [
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'src',
    'README.md',
    'LICENSE',
    ...files.filter((file: string) => file !== 'dist'),
  ]
  for (const name of sources) await cp(join(root, name), join(copy, name), { recursive: true })
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

async function pack(): Promise<{ readonly tarball: string; readonly files: readonly string[] }> {
  const copy = await copyOfSources()
  const { stdout } = await run('npm', ['pack', '--json', '--loglevel=error'], { cwd: copy, env: environment })
  // The output of the build may come before it; npm 12 answers with an object by name, those before with a list.
  const [packed] = Object.values(JSON.parse(stdout.slice(stdout.search(/^[[{]/m)))) as readonly PackedPackage[]
  if (packed === undefined) throw new Error(`npm pack said nothing: ${stdout}`)
  return { tarball: join(copy, packed.filename), files: packed.files.map(({ path }) => path) }
}

interface PackedPackage {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

test('the package holds the build, the contract, the readme and the license, and runs where it is installed, with workers', async () => {
  const { tarball, files } = await pack()
  expect(files.filter((file) => !file.startsWith('dist/')).toSorted()).toEqual(['LICENSE', 'README.md', 'openapi.yaml', 'package.json'])
  expect(files).toContain('dist/cli.js')
  expect(files.filter((file) => file.startsWith('dist/') && !/\.(js|d\.ts)$/.test(file))).toEqual([])

  const folder = await emptyFolder()
  await run('npm', ['init', '--yes'], { cwd: folder, env: environment })
  await run('npm', ['install', tarball, '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder, env: environment })

  const data = join(folder, 'data')
  await mkdir(data)
  // The workers are processes that the package starts from its own files.
  const settings = testEnvironment(data, { LOG_LEVEL: 'info', WORKERS: '2' })
  // A group of its own: npx starts a shell, which starts the program, and all of them must end.
  const options = { cwd: folder, env: { ...environment, ...settings }, detached: true } as const
  const command = ['--no', '--', 'sidecast', 'serve']
  const child = spawn('npx', command, { ...options, stdio: ['ignore', 'pipe', 'inherit'] })
  running.push(child)
  const privateUrl = await addressOf(child)
  expect((await fetch(`${privateUrl}/readyz`)).status).toBe(200)
  expect((await fetch(`${privateUrl}/openapi.yaml`)).status).toBe(200)
})

test('a build removes what is no longer in the sources, and leaves alone what would be the same: a bridge may be running from it', async () => {
  const copy = await copyOfSources()
  const dist = join(copy, 'dist')
  await mkdir(dist)
  await writeFile(join(dist, 'removed.js'), '')
  const build = () => run('npm', ['run', '--silent', 'prepare'], { cwd: copy, env: environment })
  await build()
  const built = await readdir(dist)
  expect(built).toContain('cli.js')
  expect(built).not.toContain('removed.js')
  const { mtimeMs } = await stat(join(dist, 'cli.js'))
  await build()
  expect((await stat(join(dist, 'cli.js'))).mtimeMs).toBe(mtimeMs)
  expect(await readdir(copy)).not.toContain('dist.new')
})

test('in a checkout the command that the documentation names runs the sources', async () => {
  const { stdout } = await run('npm', ['run', '--silent', 'sidecast', '--', 'help', 'token'], { cwd: root, env: environment })
  expect(stdout).toMatch(/^sidecast token /)
  for (const page of ['README.md', 'docs/configuration.md', 'docs/tokens.md'])
    expect(await readFile(join(root, page), 'utf8'), page).toContain('npm run --silent sidecast -- …')
})

/** Where the private listener is, from the line that the bridge logs when it is ready. */
async function addressOf(child: ChildProcess): Promise<string> {
  const lines: string[] = []
  if (child.stdout === null) throw new Error('the output of the bridge is not piped')
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line)
    const { msg, private: url } = JSON.parse(line) as { readonly msg?: string; readonly private?: string }
    if (msg === 'ready' && url !== undefined) return url
  }
  throw new Error(`the bridge ended before it was ready:\n${lines.join('\n')}`)
}
