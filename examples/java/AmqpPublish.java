import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;

/**
 * Publishes to Sidecast through RabbitMQ, and knows when the broker has it. Copy {@link Publisher}. Reads AMQP_URL.
 * Run: java -cp amqp-client.jar:slf4j-api.jar AmqpPublish.java [user]
 */
public final class AmqpPublish {
    public static void main(String[] arguments) {
        String url = Optional.ofNullable(System.getenv("AMQP_URL")).orElse("amqp://guest:guest@127.0.0.1:5672");
        String exchange = Optional.ofNullable(System.getenv("SIDECAST_AMQP_EXCHANGE")).orElse("sidecast");
        String user = arguments.length > 0 ? arguments[0] : "42";
        try (Publisher publisher = new Publisher(url, exchange)) {
            publisher.publish(List.of(new Event(toUser(user, "order.updated"), "{\"order\":7,\"status\":\"shipped\"}")));
            System.out.println("published 1 event");

            // Confirmed together: as fast as the broker takes them.
            publisher.publish(List.of(
                new Event(toUser(user, "order.created"), "{\"order\":8,\"number\":9007199254740993}"),
                new Event(toUser(user, "order.created"), "{\"order\":9}"),
                // Several receivers, named in headers; the routing key does not matter then.
                new Event("", "{\"order\":7}", Map.of("sidecast-event", "order.closed", "sidecast-users", List.of(user, 43L)))));
            System.out.println("published 3 events");
        } catch (Exception error) {
            System.err.println("not published: " + error.getMessage());
            System.exit(1);
        }
    }

    /** A dot ends a part of a routing key, so one inside an id is escaped. */
    static String toUser(String user, String event) {
        return "user." + user.replace("%", "%25").replace(".", "%2E") + "." + event;
    }

    /** The id makes a repeat harmless: Sidecast stores an id once. Take one that your application has already, if there is one. */
    static final class Event {
        final String id = UUID.randomUUID().toString();
        final String routingKey;
        final String json;
        final Map<String, Object> headers;

        Event(String routingKey, String json) {
            this(routingKey, json, Map.of());
        }

        Event(String routingKey, String json, Map<String, Object> headers) {
            this.routingKey = routingKey;
            this.json = json;
            this.headers = headers;
        }
    }

    /** For one thread at a time, as a channel is. Keep it for as long as the application runs. */
    static final class Publisher implements AutoCloseable {
        private static final int ATTEMPTS = 3;
        private static final long CONFIRM_TIMEOUT_MS = 5000;

        private final ConnectionFactory factory = new ConnectionFactory();
        private final Set<String> returned = ConcurrentHashMap.newKeySet();
        private final String exchange;
        private Connection connection;
        private Channel channel;

        Publisher(String url, String exchange) throws Exception {
            // "amqp://host/" would be the virtual host without a name.
            factory.setUri(url.strip().replaceAll("/+$", ""));
            factory.setConnectionTimeout(2000);
            // A publish that fails is repeated here, with the same id; recovery behind our back would not do that.
            factory.setAutomaticRecoveryEnabled(false);
            this.exchange = exchange;
        }

        /** Returns when the broker has stored all of them in a queue. What is not certain is sent again, in the same order. */
        void publish(List<Event> events) throws IOException, InterruptedException, TimeoutException {
            for (int attempt = 1; ; attempt++) {
                try {
                    open();
                    for (Event event : events) send(event);
                    channel.waitForConfirmsOrDie(CONFIRM_TIMEOUT_MS);
                    // Mandatory: what no queue takes comes back before it is confirmed.
                    if (returned.isEmpty()) return;
                    throw new IOException("no queue is bound to the exchange " + exchange + ": was Sidecast ever connected to this broker?");
                } catch (IOException | TimeoutException | RuntimeException error) {
                    close();
                    if (attempt == ATTEMPTS) throw error;
                    Thread.sleep(200L * attempt);
                }
            }
        }

        private void send(Event event) throws IOException {
            BasicProperties properties = new BasicProperties.Builder()
                .messageId(event.id)
                .contentType("application/json")
                .deliveryMode(2) // persistent
                .timestamp(new Date())
                .headers(event.headers)
                .build();
            channel.basicPublish(exchange, event.routingKey, true, properties, event.json.getBytes(StandardCharsets.UTF_8));
        }

        private void open() throws IOException, TimeoutException {
            if (channel != null && channel.isOpen()) return;
            returned.clear();
            connection = factory.newConnection("shop");
            channel = connection.createChannel();
            channel.confirmSelect();
            channel.addReturnListener((code, text, from, key, properties, body) -> returned.add(properties.getMessageId()));
        }

        @Override
        public void close() {
            if (connection != null) connection.abort(1000);
            channel = null;
        }
    }
}
