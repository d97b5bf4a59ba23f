import { loadConfig } from '../config/config.ts'
import type { Command } from './command.ts'

export const serve: Command = {
  name: 'serve',
  summary: 'runs the bridge',
  help: `sidecast serve [--config sidecast.yaml] [--public-port 3000] …

Runs the bridge until SIGTERM or SIGINT, on which it drains: clients go elsewhere over SIDECAST_DRAIN_PERIOD.
Every variable of the configuration is also a flag: SIDECAST_PUBLIC_PORT is --public-port. Flags win over the environment,
the environment wins over the file. A login key is all that it needs:

  SIDECAST_JWT_SECRET=… SIDECAST_API_KEYS=shop:… sidecast serve --allowed-origins https://app.example.com

"sidecast check-config --print" shows what would be in force.`,
  async run(sources) {
    const config = loadConfig(sources)
    // Only here, so that the other commands do not load a server.
    const { runBridge } = await import('../process.ts')
    return runBridge(config, sources)
  },
}
