import type { RoomSource } from './access.ts'

/** What the server itself says to a session; names and shapes are those of PROTOCOL.md. */
export type Notice =
  | {
      readonly event: 'sidecast:ready'
      readonly data: {
        readonly user: string
        readonly session: string
        readonly rooms: readonly string[]
        readonly recovered: boolean
        readonly reason?: string
        readonly expiresAt: number | null
      }
    }
  | { readonly event: 'sidecast:expiring'; readonly data: { readonly expiresAt: number } }
  | { readonly event: 'sidecast:joined' | 'sidecast:left'; readonly data: { readonly room: string; readonly by: RoomSource } }

/** A room that a session has just entered or left. */
export interface RoomChange {
  readonly room: string
  readonly entered: boolean
  readonly by: RoomSource
}

export function toRoomNotice({ room, entered, by }: RoomChange): Notice {
  return { event: entered ? 'sidecast:joined' : 'sidecast:left', data: { room, by } }
}
