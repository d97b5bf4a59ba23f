package com.example.realtime;

import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;

/** Publishes events to browsers. A method returns when the broker has stored the event in a queue, and throws an AmqpException when that is not certain. */
@Component
public class RealtimeTemplate {
    private final RabbitTemplate rabbit;
    private final String exchange;

    public RealtimeTemplate(RabbitTemplate rabbit, @Value("${realtime.exchange}") String exchange) {
        this.rabbit = rabbit;
        this.exchange = exchange;
    }

    public void convertAndSendToUser(String user, String event, Object payload) {
        send("user." + escape(user) + "." + event, payload);
    }

    public void convertAndSendToRoom(String room, String event, Object payload) {
        send("room." + escape(room) + "." + event, payload);
    }

    private void send(String routingKey, Object payload) {
        CorrelationData data = new CorrelationData(UUID.randomUUID().toString());
        rabbit.convertAndSend(exchange, routingKey, payload, message -> {
            // Sidecast stores an id once: what the broker delivers twice reaches the browsers once.
            message.getMessageProperties().setMessageId(data.getId());
            return message;
        }, data);
        try {
            if (!data.getFuture().get(5, TimeUnit.SECONDS).isAck()) throw new AmqpException("The broker could not store the event.");
        } catch (ExecutionException | TimeoutException error) {
            throw new AmqpException("The broker has not confirmed the event.", error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new AmqpException("Interrupted before the broker confirmed the event.", error);
        }
        if (data.getReturned() != null) throw new AmqpException("No queue is bound to the exchange " + exchange + ".");
    }

    /** A dot ends a part of a routing key. */
    private static String escape(String name) {
        return name.replace("%", "%25").replace(".", "%2E");
    }
}
