import { writeSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'

/** Writes all of it, also where the system takes it in parts. @throws the error of the disk: some of it may stand there */
export async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten
}

/** As `writeAll`, without leaving the turn of the event loop. */
export function writeAllSync({ fd }: FileHandle, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}
