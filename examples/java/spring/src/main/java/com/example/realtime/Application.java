package com.example.realtime;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.springframework.amqp.support.converter.Jackson2JsonMessageConverter;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;

@SpringBootApplication
public class Application {
    /** An event is what its JSON says; any class that Jackson can write will do. */
    public record OrderShipped(long order, String carrier) {}

    public static void main(String[] arguments) {
        System.exit(SpringApplication.exit(SpringApplication.run(Application.class, arguments)));
    }

    /** Without this bean Spring sends Java-serialised objects, which no browser can read. */
    @Bean
    Jackson2JsonMessageConverter messageConverter(ObjectMapper mapper) {
        return new Jackson2JsonMessageConverter(mapper);
    }

    @Bean
    CommandLineRunner demonstration(RealtimeTemplate realtime) {
        return arguments -> {
            String user = arguments.length > 0 ? arguments[0] : "42";
            realtime.convertAndSendToUser(user, "order.shipped", new OrderShipped(9007199254740993L, "DHL"));
            realtime.convertAndSendToRoom("orders", "order.shipped", new OrderShipped(8, "UPS"));
            System.out.println("published 2 events");
        };
    }
}
