import { BrokerConnection, reasonOf } from '../../amqp/broker-connection.ts'
import { prepareTopology } from '../../amqp/topology.ts'
import type { Config } from '../../config/config.ts'
import { type Finding, ok, problem } from './finding.ts'

/** Connects to the broker and looks at exchanges, queues and rights; declares what is missing if the bridge would. */
export async function checkBroker(amqp: NonNullable<Config['amqp']>): Promise<readonly Finding[]> {
  let connection: BrokerConnection
  try {
    connection = await BrokerConnection.open(amqp, 'doctor')
  } catch (error) {
    return [problem(`no connection: ${reasonOf(error)}`, 'is the broker running, and are host, user, password and vhost in SIDECAST_AMQP_URL right?')]
  }
  try {
    const wrong = await prepareTopology(() => connection.openChannel(), amqp)
    const cure = `give the user the rights (rabbitmqctl set_permissions -p VHOST USER '^sidecast' '^sidecast' '^sidecast'), or see docs/rabbitmq.md`
    return wrong.length === 0 ? [ok(`connected; the queue ${amqp.queue} is as it should be`)] : wrong.map((detail) => problem(detail, cure))
  } finally {
    await connection.close()
  }
}
