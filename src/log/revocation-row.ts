import type { Entry } from '../core/entry.ts'
import { lifts, type Revocation, replaceRevocation } from '../core/revocation.ts'
import { decodeRecord, draftRecord, sealRecord } from './record.ts'
import type { Tables } from './store.ts'

/** Puts what an entry says about revocations in its row, next to what stands there; returns the entry as it came to be. @throws BridgeError log_damaged */
export function writeRevocation({ revocations }: Tables, entry: Entry, position: number, time: number): Entry {
  if (entry.kind === 'revocation') {
    const standing = standingIn({ revocations }, entry.revocation.id)
    const written = standing === undefined ? entry : { ...entry, revocation: replaceRevocation(standing, entry.revocation, time) }
    revocations.put(Buffer.from(entry.revocation.id), sealRecord(draftRecord(written), position, time))
    return written
  }
  if (entry.kind === 'revocation-lifted' && lifts(entry, standingIn({ revocations }, entry.id))) revocations.remove(Buffer.from(entry.id))
  return entry
}

function standingIn({ revocations }: Pick<Tables, 'revocations'>, id: string): Revocation | undefined {
  const row = revocations.get(Buffer.from(id))
  const entry = row && decodeRecord(row).entry
  return entry?.kind === 'revocation' ? entry.revocation : undefined
}
