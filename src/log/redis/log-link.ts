import { BridgeError } from '../../errors.ts'
import { formatAddress } from './endpoint.ts'
import { explain } from './failure.ts'
import type { LogKeys } from './keys.ts'
import { Link } from './link.ts'
import type { RedisLogOptions } from './options.ts'
import { permissionScript } from './scripts.ts'

// A command that takes longer is as good as lost.
const timeoutMs = 4000

/** To a Redis that can keep the log. @throws BridgeError log_foreign: entries could be thrown away, Refused, or the error of the network */
export async function openLink(options: Pick<RedisLogOptions, 'endpoint' | 'ca' | 'onFailure'>, keys: LogKeys): Promise<Link> {
  const { endpoint, ca } = options
  const link = await Link.open({ endpoint, timeoutMs, ...(ca !== undefined && { ca }) }, keys.meta)
  try {
    await link.commands.run(permissionScript, [keys.probe], [])
    const { eviction } = link.server
    if (eviction.startsWith('allkeys')) {
      throw new BridgeError(
        'log_foreign',
        `Redis throws away any key when it is full (maxmemory-policy ${eviction}): set maxmemory-policy noeviction, or give Sidecast a Redis of its own`,
      )
    }
    if (eviction.startsWith('volatile')) {
      options.onFailure(
        new BridgeError(
          'log_foreign',
          `Redis may forget ids before the dedupe window ends (maxmemory-policy ${eviction}), so that a repeated event is stored twice: set maxmemory-policy noeviction`,
        ),
      )
    }
    return link
  } catch (error) {
    link.end(new Error('the connection is not used'))
    throw error
  }
}

/** Whether the key was not there; it is now, for so long. @throws BridgeError log_unavailable: it may have been set */
export async function remember({ commands, address }: Link, key: string, forMs: number): Promise<boolean> {
  try {
    return (await commands.call(['SET', key, '1', 'NX', 'PX', String(forMs)])) !== null
  } catch (error) {
    throw new BridgeError('log_unavailable', explain(error, formatAddress(address)).reason, { cause: error })
  }
}
