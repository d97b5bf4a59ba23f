import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * What Sidecast asks your application, answered with what Java 11 brings along: may this user be in this room (SIDECAST_AUTHORIZE_ROOMS_URL), and who is behind
 * this token (SIDECAST_AUTHORIZE_CONNECT_URL). Copy {@link #isFromSidecast}; the JSON is read by hand here because the JDK has no library for it: use yours.
 * Reads SIDECAST_AUTHORIZE_SECRET. Run: java Authorize.java [port]
 */
public final class Authorize {
    private static final byte[] SECRET = secret();

    // Your database, and your logins by opaque token.
    private static final Map<String, Set<String>> ORDERS = Map.of("42", Set.of("7", "8"), "43", Set.of("9"));
    private static final Map<String, String> LOGINS = Map.of("1|opaque-token-of-42", "42");

    public static void main(String[] arguments) throws IOException {
        int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 8081;
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/sidecast/rooms", exchange -> answer(exchange, Authorize::room));
        server.createContext("/sidecast/connect", exchange -> answer(exchange, Authorize::connect));
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        String address = "http://127.0.0.1:" + server.getAddress().getPort();
        System.out.println("SIDECAST_AUTHORIZE_ROOMS_URL=" + address + "/sidecast/rooms");
        System.out.println("SIDECAST_AUTHORIZE_CONNECT_URL=" + address + "/sidecast/connect");
    }

    /** Whether a question comes from Sidecast, unchanged and now: the form is that of Standard Webhooks. */
    static boolean isFromSidecast(String id, String timestamp, String signatures, byte[] body) throws GeneralSecurityException {
        if (id == null || timestamp == null || signatures == null || !timestamp.matches("\\d{1,11}")) return false;
        // An old question that somebody sends again is worth nothing.
        if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > 300) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(SECRET, "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(StandardCharsets.UTF_8);
        boolean good = false;
        for (String signature : signatures.split(" ")) good |= MessageDigest.isEqual(expected, signature.getBytes(StandardCharsets.UTF_8));
        return good;
    }

    /** Your rule for rooms. The name is what the browser has sent: take it apart, believe nothing of it. */
    static Answer room(String question) {
        String user = field(question, "user").orElse("");
        Matcher order = Pattern.compile("order:(\\d{1,9})").matcher(field(question, "room").orElse(""));
        boolean allowed = order.matches() && ORDERS.getOrDefault(user, Set.of()).contains(order.group(1));
        long expiresAt = Instant.now().getEpochSecond() + 3600;
        return new Answer(200, allowed ? "{\"allowed\":true,\"expiresAt\":" + expiresAt + "}" : "{\"allowed\":false}");
    }

    /** Your logins. Rooms are as in a rooms claim: names are joined at once, patterns allow joining. */
    static Answer connect(String question) {
        String user = LOGINS.get(field(question, "token").orElse(""));
        if (user == null) return new Answer(401, "{\"error\":\"not logged in\"}");
        return new Answer(200, "{\"user\":\"" + user + "\",\"rooms\":[\"news\",\"team:*\"]}");
    }

    private static void answer(HttpExchange exchange, java.util.function.Function<String, Answer> decide) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readNBytes(65536);
            var headers = exchange.getRequestHeaders();
            boolean ours = isFromSidecast(headers.getFirst("webhook-id"), headers.getFirst("webhook-timestamp"), headers.getFirst("webhook-signature"), body);
            Answer answer = ours ? decide.apply(new String(body, StandardCharsets.UTF_8)) : new Answer(400, "{\"error\":\"the signature is missing, wrong or old\"}");
            byte[] bytes = answer.json.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(answer.status, bytes.length);
            exchange.getResponseBody().write(bytes);
        } catch (GeneralSecurityException error) {
            throw new IOException(error);
        }
    }

    /** A text of a flat JSON object. */
    static Optional<String> field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return found.find() && found.group(1).indexOf('\\') < 0 ? Optional.of(found.group(1)) : Optional.empty();
    }

    private static byte[] secret() {
        String text = Optional.ofNullable(System.getenv("SIDECAST_AUTHORIZE_SECRET")).orElse("").strip();
        if (!text.startsWith("whsec_")) throw new IllegalStateException("SIDECAST_AUTHORIZE_SECRET is not set");
        return Base64.getDecoder().decode(text.substring("whsec_".length()));
    }

    static final class Answer {
        final int status;
        final String json;

        Answer(int status, String json) {
            this.status = status;
            this.json = json;
        }
    }
}
