import { EmbeddedLog } from '../../src/log/embedded.ts'
import { describeEventLog } from './event-log-suite.ts'
import { copyFolder, folderNamed } from './folders.ts'

for (const durability of ['disk', 'process'] as const) {
  describeEventLog(`the embedded log with durability ${durability}`, {
    open: ({ place, ...setup }) => EmbeddedLog.open({ ...setup, directory: folderNamed(place), durability, sweepMs: 5, canaryMs: 50 }),
    copy: async (from, to) => copyFolder(folderNamed(from), folderNamed(to)),
  })
}
