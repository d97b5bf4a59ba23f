import { readJournal } from './journal.ts'
import { type Placed, placeAgain, writePlaced } from './place.ts'
import { commitReserveBytes, entryReserveBytes, type Reserve } from './reserve.ts'
import { newestRun } from './runs.ts'
import { emptyState, stateAfter } from './state.ts'
import type { Store } from './store.ts'

const maxCommitEntries = 512

/** Brings to the tables what a process that was ended has accepted and written to the journal only. */
export async function recover(store: Store, reserve: Reserve, journalFile: string, secret: string): Promise<void> {
  const missing = await readMissing(store, journalFile, secret)
  for (let at = 0; at < missing.length; at += maxCommitEntries) {
    const part = missing.slice(at, at + maxCommitEntries)
    const bytes = part.reduce((sum, { record }) => sum + record.length + entryReserveBytes, commitReserveBytes)
    await reserve.ensure(store.usedBytes(), bytes)
    const state = stateAfter(store.state() ?? emptyState, part)
    await writePlaced(store, part, state)
  }
}

async function readMissing(store: Store, journalFile: string, secret: string): Promise<readonly Placed[]> {
  const missing: Placed[] = []
  let { head } = store.state() ?? emptyState
  for (const stored of await readJournal(journalFile, secret, newestRun(store) ?? '')) {
    if (stored.position <= head) continue
    // A journal that does not go on where the tables end was written to another copy of them.
    if (stored.position !== head + 1) break
    missing.push(placeAgain(stored))
    head++
  }
  return missing
}
