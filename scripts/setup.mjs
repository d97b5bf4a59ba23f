/**
 * Makes a fresh checkout ready. Runs on Node 20 with nothing installed.
 *   node scripts/setup.mjs              the npm packages, the current Node among them
 *   node scripts/setup.mjs --services   and the programs that the tests run against
 * Exits with 1, and with the command that cures it, when something is missing that it may not install.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** What the tests start. `find` returns what is wrong, or undefined when all is well; `packages` are Debian's and Ubuntu's. */
const services = [
  { name: 'curl', packages: ['curl'], find: () => problemOf('curl', ['--version']) },
  { name: 'PHP with curl', packages: ['php-cli', 'php-curl'], find: () => problemOf('php', ['-m'], /^curl$/m, 'php lacks the extension curl') },
  { name: 'Chromium', packages: ['chromium'], find: findChromium },
  // Running a source file needs the compiler: a JRE is not enough, nor is anything before 11.
  {
    name: 'a Java JDK, 11 or later',
    packages: ['default-jdk-headless'],
    find: () => problemOf('java', ['--list-modules'], /^jdk\.compiler@(1[1-9]|[2-9]\d)/m, 'java on PATH is not a JDK of version 11 or later'),
  },
  { name: 'RabbitMQ', packages: ['rabbitmq-server'], find: findRabbitMq },
  // The sentinel is the same program, told so.
  { name: 'Redis', packages: ['redis-server'], find: () => problemOf('redis-server', ['--version']) },
  { name: 'HAProxy', packages: ['haproxy'], find: () => problemOf('haproxy', ['-v']) },
  { name: 'openssl', packages: ['openssl'], find: () => problemOf('openssl', ['version']) },
  { name: 'amqp-publish', packages: ['amqp-tools'], find: () => problemOf('amqp-publish', ['--help']) },
  {
    name: 'php-amqplib',
    packages: ['php-amqplib'],
    find: () => problemOf('php', ['-r', "require 'PhpAmqpLib/autoload.php'; echo 'there';"], /^there$/, 'php does not find PhpAmqpLib/autoload.php'),
  },
  {
    name: "RabbitMQ's Java client",
    packages: ['librabbitmq-client-java'],
    find: () => (existsSync('/usr/share/java/amqp-client.jar') ? undefined : '/usr/share/java/amqp-client.jar is not there'),
  },
]

/**
 * Only looked for: asked for its version, it would start a daemon and write to the home folder.
 * The tests run the scripts that Debian's wrappers in /usr/sbin stand before, since those run as anybody.
 */
function findRabbitMq() {
  const folders = ['/usr/lib/rabbitmq/bin', ...(process.env.PATH ?? '').split(delimiter)]
  return folders.some((folder) => existsSync(join(folder, 'rabbitmq-server'))) ? undefined : 'rabbitmq-server is not on PATH'
}

function findChromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']
  const problems = names.map((name) => problemOf(name, ['--version'], /\d+\.\d+/, `${name} on PATH does not run`))
  return problems.includes(undefined) ? undefined : (problems.find((problem) => !problem.includes('not on PATH')) ?? problems[0])
}

/** Why a program cannot be used: it is not there, it does not run, or its answer is not the wanted one. */
function problemOf(program, args, wanted = /./, otherwise = `${program} does not run`) {
  const { error, status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 })
  if (error?.code === 'ENOENT') return `${program} is not on PATH`
  return error === undefined && status === 0 && wanted.test(stdout + stderr) ? undefined : otherwise
}

function say(text) {
  process.stdout.write(`${text}\n`)
}

function fail(...lines) {
  process.stderr.write(`\n${lines.join('\n')}\n`)
  process.exit(1)
}

/** Runs a program without its chatter; when it fails the chatter is all there is to see. */
function run(doing, program, args, env = {}) {
  const startedAt = Date.now()
  process.stdout.write(`${doing} … `)
  const { error, status, signal, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    // Ctrl-C must not be swallowed with the output.
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
  })
  if (signal === 'SIGINT') process.exit(130)
  if (error !== undefined || status !== 0) {
    say('failed')
    fail(stdout?.trim() ?? '', stderr?.trim() ?? '', `${[program, ...args].join(' ')} failed${error === undefined ? '' : `: ${error.message}`}`)
  }
  say(`done in ${Math.ceil((Date.now() - startedAt) / 1000)} s`)
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'))
  } catch {
    return undefined
  }
}

/** By content, not by date: a checkout or a copy changes dates, and a needless install would take the packages away from whatever runs. */
function packagesAreCurrent() {
  const locked = readJson('package-lock.json')?.packages
  const installed = readJson('node_modules/.package-lock.json')?.packages
  if (locked === undefined || installed === undefined) return false
  return Object.entries(locked).every(([path, { version, optional, peer }]) => {
    if (path === '') return true
    if (installed[path] === undefined) return optional === true || peer === true
    return installed[path].version === version
  })
}

function installPackages() {
  // What `npm ci` would refuse, checked here, since `npm install` would quietly choose versions that nobody has locked.
  const asked = readJson('package.json')
  const locked = readJson('package-lock.json')?.packages?.['']
  for (const field of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    if (JSON.stringify(Object.entries(asked[field] ?? {}).sort()) === JSON.stringify(Object.entries(locked?.[field] ?? {}).sort())) continue
    fail(`The ${field} of package.json and package-lock.json differ. Run npm install, and commit both.`)
  }
  if (packagesAreCurrent()) return
  const [program, first] = process.env.npm_execpath === undefined ? ['npm', []] : [process.execPath, [process.env.npm_execpath]]
  // Not `npm ci`: a lock file that lacks the optional packages of other platforms is refused by it, on every platform.
  // The engine that the packages ask for is not the one that runs here: they bring their own Node.
  run('Installing the npm packages (up to a minute)', program, [
    ...first,
    'install',
    '--no-save',
    '--include=dev',
    '--loglevel=error',
    '--engine-strict=false',
  ])
}

/** The programs of the packages come first on PATH, as in any npm script: the Node that is asked here is the one that will run. */
function checkNode() {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(readJson('package.json').engines.node)
  const env = { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}` }
  const { stdout } = spawnSync('node', ['--version'], { env, encoding: 'utf8', shell: process.platform === 'win32' })
  const [, hasMajor, hasMinor] = /^v(\d+)\.(\d+)/.exec(stdout ?? '') ?? []
  if (Number(hasMajor) > Number(major) || (hasMajor === major && Number(hasMinor) >= Number(minor))) return
  fail(
    `Node ${major}.${minor} or later is needed, and the copy that comes with the packages is not there (found: ${stdout?.trim() || 'none'}).`,
    'npm was probably told not to run install scripts. Either allow this one:',
    '  npm rebuild node --ignore-scripts=false',
    'or install a current Node yourself.',
  )
}

function installServices() {
  const missing = services.map((service) => ({ ...service, problem: service.find() })).filter(({ problem }) => problem !== undefined)
  if (missing.length === 0) return
  for (const { name, problem } of missing) say(`The tests need ${name}: ${problem}.`)
  const packages = missing.flatMap((service) => service.packages)
  const apt = ['install', '--yes', '--no-install-recommends', ...packages]
  const cure = `apt-get update && apt-get ${apt.join(' ')}`
  if (!existsSync('/etc/debian_version'))
    fail(
      'These can be installed for you on Debian and Ubuntu only. Please install them in the way of this system (Debian calls them',
      `${packages.join(' ')}).`,
    )
  if (process.getuid() !== 0) fail('Only root may install them. Please run:', `  sudo sh -c '${cure}'`)

  const quiet = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' }
  const options = ['-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3']
  run('Fetching the list of Debian packages', 'apt-get', [...options, 'update'], quiet)
  withoutStarting(['rabbitmq-server', 'redis-server', 'haproxy'], () =>
    run(`Installing ${packages.join(', ')} (up to a few minutes)`, 'apt-get', [...options, ...apt], quiet),
  )

  const still = missing.map(({ name, find }) => ({ name, problem: find() })).filter(({ problem }) => problem !== undefined)
  if (still.length > 0)
    fail(...still.map(({ name, problem }) => `${name} cannot be used although it was installed: ${problem}.`), `What was run: ${cure}`)
}

/**
 * Debian starts a server when it installs it, and at every boot. The tests start their own, so the machine's is left alone: one that
 * was there before goes on, and one that comes with the package is not started.
 */
function withoutStarting(services, install) {
  // Who has a policy decides what is started.
  const policy = '/usr/sbin/policy-rc.d'
  const absent = services.filter((service) => !existsSync(`/etc/init.d/${service}`))
  if (absent.length === 0 || existsSync(policy)) return install()
  const remove = () => rmSync(policy, { force: true })
  const names = absent.flatMap((service) => [`*" ${service} "*`, `*" ${service}.service "*`]).join(' | ')
  // 101 is "forbidden by policy" (invoke-rc.d(8)). All else may start.
  writeFileSync(policy, `#!/bin/sh\ncase " $* " in ${names}) exit 101 ;; esac\n`, { mode: 0o755, flag: 'wx' })
  process.once('exit', remove)
  install()
  remove()
  for (const service of absent) if (existsSync(`/etc/init.d/${service}`)) spawnSync('update-rc.d', [service, 'disable'], { stdio: 'ignore' })
}

const unknown = process.argv.slice(2).filter((argument) => argument !== '--services')
if (unknown.length > 0) fail(`setup does not know ${unknown.join(' ')}; all it takes is --services`)

installPackages()
checkNode()
if (process.argv.includes('--services')) installServices()
