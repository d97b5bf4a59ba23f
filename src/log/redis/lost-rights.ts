import type { Entry } from '../../core/entry.ts'
import type { Window } from './window.ts'

/** What ended rights, or changed them, and is missing or older in what there is now. */
export function lostRights(old: Window, now: Window, time: number): readonly { readonly entry: Entry; readonly position: number }[] {
  const known = new Map(now.revocations().map(({ entry, position }) => [entry.revocation.id, position]))
  const revocations = old
    .revocations()
    .filter(({ entry, position }) => entry.revocation.expiresAt > time && (known.get(entry.revocation.id) ?? 0) < position)
    .map(({ entry, position }) => ({ entry, position }))
  const memberships: { readonly entry: Entry; readonly position: number }[] = []
  for (const { user, room, membership } of old.userMemberships()) {
    const { position, present } = membership
    if ((now.memberships({ user }).get(room)?.position ?? 0) >= position) continue
    memberships.push({ entry: { kind: 'membership', member: { user }, room, present }, position })
  }
  return [...revocations, ...memberships.toSorted((one, other) => one.position - other.position)]
}
