import type { Draft } from './draft.ts'
import type { Member } from './entry.ts'
import type { RevocationRequest } from './revocation-request.ts'

/** One thing that a publisher wants to be done. */
export type Instruction =
  | { readonly kind: 'event'; readonly draft: Draft }
  | { readonly kind: 'membership'; readonly user: string; readonly room: string; readonly present: boolean }
  | { readonly kind: 'disconnect'; readonly member: Member }
  | { readonly kind: 'revoke'; readonly request: RevocationRequest }
