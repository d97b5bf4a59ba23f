import { access, constants, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Finding, ok, problem, reasonOf } from './finding.ts'

/** A session is a file; so are its neighbours in the process. */
const fewFiles = 10_000
const littleSpace = 256 * 1024 ** 2

/** How many connections the system lets this process have. */
export function checkFileLimit(): Finding {
  const report: unknown = process.report.getReport()
  const limit = Number(Object(report).userLimits?.open_files?.soft ?? Number.NaN)
  if (Number.isNaN(limit)) return ok('no limit on open files')
  if (limit >= fewFiles) return ok(`${limit} open files, a session is one`)
  return problem(
    `${limit} open files: no more sessions than that can be open`,
    'raise it where the bridge is started: ulimit -n 65536, LimitNOFILE=65536 (systemd), ulimits: { nofile: 65536 } (compose)',
  )
}

/** Whether the event log can be kept where it is configured. */
export async function checkFolder(directory: string): Promise<Finding> {
  const folder = await nearest(directory)
  try {
    await access(folder, constants.W_OK | constants.X_OK)
    const { bavail, bsize } = await statfs(folder)
    const megabytes = Math.floor((bavail * bsize) / 1024 ** 2)
    const place = folder === directory ? directory : `${directory}, which will be made`
    if (bavail * bsize < littleSpace) return problem(`${place}: ${megabytes} MB are free`, 'make room, or point SIDECAST_DATA_DIR to a larger disk')
    return ok(`${place}: writable, ${megabytes} MB free`)
  } catch (error) {
    return problem(`${folder}: ${reasonOf(error)}`, 'let the user of the bridge write there (chown), or point SIDECAST_DATA_DIR to another folder')
  }
}

/** The folder itself, or the closest one above it that exists. */
async function nearest(directory: string): Promise<string> {
  try {
    await access(directory, constants.F_OK)
    return directory
  } catch {
    return dirname(directory) === directory ? directory : nearest(dirname(directory))
  }
}

/** The clock of this machine against what an answer said in its Date header, which counts in whole seconds. */
export function checkClock(
  from: string,
  date: string | null,
  between: { readonly sent: number; readonly received: number },
  toleranceMs: number,
): Finding {
  const time = Date.parse(date ?? '')
  if (Number.isNaN(time)) return { kind: 'skipped', detail: `${from} sends no Date` }
  const aheadMs = between.sent - (time + 1000)
  const behindMs = time - between.received
  const differenceMs = Math.max(aheadMs, behindMs, 0)
  if (differenceMs <= toleranceMs / 2) return ok(`that of ${from} and this one agree`)
  const detail = `this clock is ${Math.round(differenceMs / 1000)} s ${aheadMs > behindMs ? 'ahead of' : 'behind'} that of ${from}; the tolerance is ${toleranceMs / 1000} s`
  return problem(
    detail,
    'let both machines follow NTP (timedatectl set-ntp true); new tokens are refused as token_not_active or token_expired otherwise',
  )
}
