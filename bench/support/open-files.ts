import { readFileSync } from 'node:fs'

/** Listeners, logs, and what a process opens for a moment. */
const reserve = 500

/** How many files each process may have open. Node raises its own limit as far as it may, and children inherit it. */
const limit = Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Number.POSITIVE_INFINITY)

/** So many sessions, or as many as so many processes can hold. */
export const fitting = (sessions: number, processes = 1): number => Math.min(sessions, (limit - reserve) * processes)

/** For a title: what keeps somebody from having as many as they wanted. */
export const openFilesNote = (sessions: number): string => (fitting(sessions) < sessions ? ` (the limit of open files here is ${limit})` : '')
