import type { Config } from '../../config/config.ts'
import { toText } from '../../log/redis/connection.ts'
import { formatAddress } from '../../log/redis/endpoint.ts'
import { explain } from '../../log/redis/failure.ts'
import { logKeys } from '../../log/redis/keys.ts'
import { Link } from '../../log/redis/link.ts'
import { permissionScript } from '../../log/redis/scripts.ts'
import { type Finding, ok, problem } from './finding.ts'

const timeoutMs = 5000

/** Whether the Redis of the log is there, new enough, lets itself be used, and keeps what it is given. Nothing of the log is touched. */
export async function checkRedis({ endpoint, ca, prefix }: NonNullable<Config['redis']>): Promise<readonly Finding[]> {
  const keys = logKeys(prefix)
  let link: Link | undefined
  try {
    link = await Link.open({ endpoint, timeoutMs, ...(ca !== undefined && { ca }) }, keys.meta)
    await link.commands.run(permissionScript, [keys.probe], [])
    const info = toText(await link.commands.call(['INFO']))
    const says = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''
    const { eviction } = link.server
    // Valkey calls itself the Redis that it began as, too.
    const version = says('valkey_version') === '' ? says('redis_version') : `${says('valkey_version')} of Valkey`
    return [
      ok(`connected to the master at ${formatAddress(link.address)}, version ${version}; the user has the rights`),
      eviction === 'noeviction'
        ? ok('it throws nothing away')
        : problem(
            `it throws keys away when it is full (maxmemory-policy ${eviction})`,
            'set maxmemory-policy noeviction, or give Sidecast a Redis of its own',
          ),
      says('aof_enabled') === '1'
        ? ok('it has an append-only file')
        : problem(
            'it has no append-only file: what was accepted is lost when it restarts, and every client is told gap',
            'set appendonly yes (appendfsync everysec, or always), see docs/scaling.md',
          ),
    ]
  } catch (error) {
    const { reason } = explain(error, endpoint.servers.map(formatAddress).join(', '))
    return [
      problem(reason, 'no node starts without it: is it running, and are host, user and password in SIDECAST_REDIS_URL right? See docs/scaling.md'),
    ]
  } finally {
    link?.end(new Error('doctor has seen it'))
  }
}
