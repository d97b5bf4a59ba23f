import type { Count } from './clients.ts'
import type { Publication } from './publish-order.ts'
import type { Server } from './server.ts'

/** @throws Error when the clients have not got exactly what was published, each event as often as there are recipients. */
export function reconcile(server: Server, publications: readonly Pick<Publication, 'accepted' | 'sum'>[], recipients: number, count: Count): void {
  const frames = publications.reduce((total, { accepted }) => total + accepted, 0) * recipients
  const sum = publications.reduce((total, publication) => total + publication.sum, 0) * recipients
  if (count.frames !== frames || count.sum !== sum)
    throw new Error(`${server.name}: ${count.frames} events were received, of ${frames} (the sum of their numbers is ${count.sum}, of ${sum})`)
}
