import { loadConfig } from '../config/config.ts'
import { maskedConfig } from '../config/masked.ts'
import { notesOn } from '../config/notes.ts'
import { type Command, parseCall, refuseWords } from './command.ts'

export const checkConfig: Command = {
  name: 'check-config',
  summary: 'says what is wrong with the configuration, or that nothing is',
  help: `sidecast check-config [--print] [--config sidecast.yaml] [flags of serve]

Reads the configuration as "sidecast serve" would and says everything that is wrong with it at once.

  --print   prints what is in force, a variable a line with where it comes from; secrets are masked

Exit code: 0 the configuration is valid, 2 it is not.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, { switches: ['print'] })
    const sources = { args: call.configArgs, env, cwd }
    const config = loadConfig(sources)
    refuseWords(call.words)
    console.log(call.isSet('print') ? maskedConfig(sources) : 'The configuration is valid.')
    for (const note of notesOn(config)) console.error(`note: ${note}`)
    return 0
  },
}
