import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Optional;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Publishes to Sidecast with a signed request instead of a key, with what Java 11 brings along. The secret signs and never travels: whoever
 * reads along cannot publish. Copy {@link #sign} and {@link #post}. Reads SIDECAST_URL and SIDECAST_SIGNING_SECRET (whsec_…).
 * Run: java PublishSigned.java [user]
 */
public final class PublishSigned {
    private static final String SIDECAST =
        Optional.ofNullable(System.getenv("SIDECAST_URL")).orElse("http://127.0.0.1:3001").strip().replaceAll("/+$", "");
    private static final String SECRET = Optional.ofNullable(System.getenv("SIDECAST_SIGNING_SECRET")).orElse("").strip();
    private static final int ATTEMPTS = 3;
    private static final HttpClient HTTP =
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(1)).build();

    public static void main(String[] arguments) throws InterruptedException {
        String user = arguments.length > 0 ? arguments[0] : "42";
        String body = "{\"event\":\"order.updated\",\"data\":{\"order\":7,\"name\":\"Grüße\"},\"to\":{\"users\":[\"" + user + "\"]}}";
        try {
            System.out.println("published " + post("/v1/events", "msg_" + UUID.randomUUID(), body));
        } catch (IOException | GeneralSecurityException | IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }

    /** The value of webhook-signature. */
    static String sign(String id, long time, byte[] body) throws GeneralSecurityException {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(Base64.getDecoder().decode(SECRET.replaceFirst("^whsec_", "")), "HmacSHA256"));
        mac.update((id + "." + time + ".").getBytes(StandardCharsets.UTF_8));
        return "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
    }

    /** The id is the same for all attempts, and has no dot; each attempt has a time and a signature of its own: the same request is taken once. */
    static String post(String path, String id, String text) throws IOException, InterruptedException, GeneralSecurityException {
        if (SECRET.isEmpty()) throw new IOException("SIDECAST_SIGNING_SECRET is not set");
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        for (int attempt = 1; ; attempt++) {
            long time = Instant.now().getEpochSecond();
            HttpRequest request = HttpRequest.newBuilder(URI.create(SIDECAST + path))
                .timeout(Duration.ofSeconds(3))
                .header("Content-Type", "application/json")
                .header("webhook-id", id)
                .header("webhook-timestamp", Long.toString(time))
                .header("webhook-signature", sign(id, time, body))
                .POST(BodyPublishers.ofByteArray(body))
                .build();
            HttpResponse<String> response = null;
            try {
                response = HTTP.send(request, BodyHandlers.ofString());
            } catch (IOException error) {
                if (attempt == ATTEMPTS) throw new IOException("Sidecast: no answer from " + SIDECAST + " (" + error + ")", error);
            }
            if (response != null) {
                int status = response.statusCode();
                if (status < 300) return response.body();
                if (attempt == ATTEMPTS || (status != 429 && status < 500)) throw new IOException("Sidecast: HTTP " + status + ", " + response.body());
            }
            Thread.sleep(1100); // Into the next second.
        }
    }
}
