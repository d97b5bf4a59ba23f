import com.rabbitmq.client.Channel;
import java.io.Serializable;
import java.math.BigDecimal;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.springframework.amqp.core.MessagePostProcessor;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.support.converter.Jackson2JsonMessageConverter;
import org.springframework.amqp.support.converter.SimpleMessageConverter;
import org.springframework.amqp.support.postprocessor.GZipPostProcessor;

/** Sends what Spring applications send, in the ways in which their converters do it. Arguments: url, exchange. */
public class SpringForms {
    public record OrderShipped(long order, BigDecimal price) {}

    public static class Legacy implements Serializable {
        public int order = 7;
    }

    public static void main(String[] arguments) {
        CachingConnectionFactory connections = new CachingConnectionFactory();
        connections.setUri(arguments[0]);
        String exchange = arguments[1];
        RabbitTemplate rabbit = new RabbitTemplate(connections);

        Jackson2JsonMessageConverter json = new Jackson2JsonMessageConverter();
        json.setCreateMessageIds(true);
        rabbit.setMessageConverter(json);
        OrderShipped shipped = new OrderShipped(Long.MAX_VALUE, new BigDecimal("12345678901234567890.10"));
        rabbit.convertAndSend(exchange, "user.42.object", shipped);
        rabbit.convertAndSend(exchange, "user.42", shipped);
        rabbit.convertAndSend(exchange, "user.42.string", "{\"order\":9007199254740993}");
        rabbit.convertAndSend(exchange, "user.42.text", "hello");
        rabbit.convertAndSend(exchange, "user.42.list", List.of(shipped, shipped));
        rabbit.convertAndSend(exchange, "user.42.map", new LinkedHashMap<>(Map.of("a", 1)));
        rabbit.convertAndSend(exchange, "", shipped, with(Map.of("sidecast-event", "headers", "sidecast-users", List.of("41", 42L, 43))));
        rabbit.convertAndSend(exchange, "user.42", new LinkedHashMap<>(Map.of("a", 1)));
        rabbit.convertAndSend(exchange, "user.42.date", shipped, with(Map.of("sidecast-users", new Date())));
        rabbit.convertAndSend(exchange, "user.42.long", shipped, with(Map.of("sidecast-users", Long.MAX_VALUE)));

        rabbit.setMessageConverter(new SimpleMessageConverter());
        rabbit.convertAndSend(exchange, "user.42.simple", "{\"a\":1}");
        rabbit.convertAndSend(exchange, "user.42.bytes", "{\"a\":2}".getBytes());
        rabbit.convertAndSend(exchange, "user.42.plain", "hello");
        rabbit.convertAndSend(exchange, "user.42.serialized", new Legacy());
        GZipPostProcessor gzip = new GZipPostProcessor();
        rabbit.convertAndSend(exchange, "user.42.gzip", "{\"a\":3}", gzip);
        rabbit.execute((Channel channel) -> {
            channel.basicPublish(exchange, "user.42.end", null, new byte[0]);
            return null;
        });
        connections.destroy();
    }

    private static MessagePostProcessor with(Map<String, Object> headers) {
        return message -> {
            message.getMessageProperties().getHeaders().putAll(headers);
            return message;
        };
    }
}
