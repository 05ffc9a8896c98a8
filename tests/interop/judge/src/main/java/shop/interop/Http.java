package shop.interop;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;

/** Plain HTTP/1.1, redirects not followed; headers are name, value, name, value. */
public final class Http {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient CLIENT;

    static {
        // tests set the Host header
        System.setProperty("jdk.httpclient.allowRestrictedHeaders", "host,connection");
        CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build();
    }

    private Http() {}

    /** A response. */
    public record Answer(int status, HttpHeaders headers, String body) {
        public JsonNode json() throws IOException {
            return JSON.readTree(body);
        }

        @Override
        public String toString() {
            return status + " " + body;
        }
    }

    public static Answer get(String url, String... headers) throws IOException, InterruptedException {
        return send("GET", url, null, headers);
    }

    public static Answer send(String method, String url, String body, String... headers) throws IOException, InterruptedException {
        var publisher = body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(url)).method(method, publisher).timeout(Duration.ofSeconds(30));
        for (int i = 0; i < headers.length; i += 2) {
            request.header(headers[i], headers[i + 1]);
        }
        var answer = CLIENT.send(request.build(), BodyHandlers.ofString());
        return new Answer(answer.statusCode(), answer.headers(), answer.body());
    }

    /** The value of an Authorization header with Basic credentials. */
    public static String basic(String user, String password) {
        return "Basic " + Base64.getEncoder().encodeToString((user + ":" + password).getBytes(StandardCharsets.UTF_8));
    }

    /** The value of an Authorization header for a demo user, whose password equals the name. */
    public static String bearer(String issuer, String user) throws IOException, InterruptedException {
        String url = issuer + "/realms/spring-cloud-microservices-realm/protocol/openid-connect/token";
        String form = "grant_type=password&client_id=tradepost-demo&username=" + user + "&password=" + user;
        Answer answer = send("POST", url, form, "Content-Type", "application/x-www-form-urlencoded");
        if (answer.status() != 200) {
            throw new IOException("no token for " + user + ": " + answer);
        }
        return "Bearer " + answer.json().get("access_token").asText();
    }
}
