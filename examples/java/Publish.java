import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Optional;
import java.util.UUID;

/**
 * Publishes to Sidecast with what Java 11 brings along. Copy {@link #post}; the JSON is written by hand here because the JDK has no
 * library for it: use yours (Jackson, Gson). Reads SIDECAST_URL and SIDECAST_API_KEY. Run: java Publish.java [user]
 */
public final class Publish {
    private static final String SIDECAST =
        Optional.ofNullable(System.getenv("SIDECAST_URL")).orElse("http://127.0.0.1:3001").strip().replaceAll("/+$", "");
    private static final String KEY = Optional.ofNullable(System.getenv("SIDECAST_API_KEY")).orElse("").strip();
    private static final int ATTEMPTS = 3;

    // HTTP/1.1: over plain HTTP the client would otherwise ask for an upgrade to HTTP/2 first.
    private static final HttpClient HTTP =
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(1)).build();

    public static void main(String[] arguments) throws InterruptedException {
        String user = arguments.length > 0 ? arguments[0] : "42";
        try {
            System.out.println("published " + post("/v1/events", event("order.updated", "{\"order\":7,\"status\":\"shipped\"}", user)));

            // Up to 1,000 at once; each succeeds or fails on its own, as its result says.
            String events = event("order.created", "{\"order\":8}", user) + "," + event("order.created", "{\"order\":9}", user);
            System.out.println("published " + post("/v1/events/batch", "{\"events\":[" + events + "]}"));

            post("/v1/events", event("not a name", "null", user));
        } catch (IOException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }

    /** The id makes a repeat harmless: Sidecast stores an id once, whoever sends it again. */
    static String event(String name, String data, String user) {
        return "{\"id\":\"" + UUID.randomUUID() + "\",\"event\":" + quote(name) + ",\"data\":" + data + ",\"to\":{\"users\":[" + quote(user) + "]}}";
    }

    /** Posts, and tries again for as long as that can help: no answer at all, 429, or a failure of the server. */
    static String post(String path, String body) throws IOException, InterruptedException {
        if (KEY.isEmpty()) throw new IOException("SIDECAST_API_KEY is not set");
        HttpRequest request = HttpRequest.newBuilder(URI.create(SIDECAST + path))
            .timeout(Duration.ofSeconds(3))
            .header("Content-Type", "application/json")
            .header("Authorization", "Bearer " + KEY)
            .POST(BodyPublishers.ofString(body))
            .build();
        for (int attempt = 1; ; attempt++) {
            boolean last = attempt == ATTEMPTS;
            try {
                HttpResponse<String> response = HTTP.send(request, BodyHandlers.ofString());
                int status = response.statusCode();
                if (status < 300) return response.body();
                // The body is problem+json: code, detail, and errors[] with the place of each.
                if (last || (status != 429 && status < 500)) throw new Refused(path, status, response.body());
            } catch (Refused refused) {
                throw refused;
            } catch (IOException error) {
                if (last) throw new IOException("Sidecast, " + path + ": no answer from " + SIDECAST + " (" + error + ")", error);
            }
            Thread.sleep(200L * attempt);
        }
    }

    static final class Refused extends IOException {
        Refused(String path, int status, String body) {
            super("Sidecast, " + path + ": HTTP " + status + ", " + body);
        }
    }

    static String quote(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') json.append('\\').append(c);
            else if (c < ' ') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }
}
