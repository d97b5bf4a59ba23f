import { readFile } from 'node:fs/promises'

/** A process, its children, and theirs (Linux). */
export async function processTree(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const below = await Promise.all(
    text
      .split(' ')
      .filter(Boolean)
      .map((child) => processTree(Number(child))),
  )
  return [pid, ...below.flat()]
}

/** With all their threads, those of the kernel's work for them included. */
export async function usedCpuSeconds(pids: readonly number[]): Promise<number> {
  const one = async (pid: number): Promise<number> => {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  }
  return (await Promise.all(pids.map(one))).reduce((sum, seconds) => sum + seconds, 0)
}

export async function residentBytes(pids: readonly number[]): Promise<number> {
  const one = async (pid: number): Promise<number> => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
  return (await Promise.all(pids.map(one))).reduce((sum, bytes) => sum + bytes, 0)
}
