import type { PeerLink, Peers, PresenceChange } from '../core/peers.ts'
import type { Workers } from './workers.ts'

/**
 * What the parent's hub hears of its workers and of other nodes; the workers hear of the other nodes, and these of the workers, who are one node to them.
 * `peers`: what the hub has made of it.
 */
export function joinLinks(workers: Workers, nodes: PeerLink, peers: () => Peers): PeerLink {
  const tellAll = (): void => {
    const sessions = workers.nodes.flatMap((worker) => [...peers().sessions(worker)])
    const opened = sessions.map((session) => ({ kind: 'opened', session }) as const)
    nodes.announce([{ kind: 'all-begin' }, ...opened, { kind: 'all-end' }])
  }
  return {
    announce: () => undefined,
    follow(listener) {
      workers.follow({
        ...listener,
        changed(worker, changes) {
          listener.changed(worker, changes)
          // One that goes on at another worker, or at another node, is not over.
          nodes.announce(changes.filter((change) => change.kind !== 'closed' || !peers().has(change.session)))
        },
        gone(worker) {
          const closed = [...peers().sessions(worker)].map(({ session }): PresenceChange => ({ kind: 'closed', session }))
          listener.gone(worker)
          nodes.announce(closed)
        },
      })
      nodes.follow({
        changed(node, changes) {
          listener.changed(node, changes)
          workers.relay(node, changes)
        },
        gone(node) {
          listener.gone(node)
          workers.relayGone(node)
        },
        asked: tellAll,
        due: () => undefined,
      })
    },
  }
}
