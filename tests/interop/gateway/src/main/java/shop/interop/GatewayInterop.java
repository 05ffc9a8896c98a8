package shop.interop;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import shop.interop.Ask.Always;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;

/** A real Spring Cloud Gateway and ours with the same route file and upstream: the responses are the same. */
@SpringBootApplication
public class GatewayInterop {

    public static void main(String[] arguments) {
        new Checks("gateway").run(GatewayInterop::check);
    }

    private static void check(Checks checks) throws Exception {
        Path data = Files.createTempDirectory(Path.of(System.getProperty("work")), "gateway");
        Path routes = Path.of(System.getProperty("routes")).toAbsolutePath();
        String upstream = new Echo().url();
        // no process listens there
        String dead = "http://127.0.0.1:" + Echo.freePort();
        System.setProperty("UPSTREAM", upstream);
        System.setProperty("DEAD", dead);
        var context = new SpringApplicationBuilder(GatewayInterop.class).run(
            "--server.port=0", "--server.address=127.0.0.1", "--server.forward-headers-strategy=none", "--spring.main.banner-mode=off", "--logging.level.root=OFF",
            "--spring.config.import=file:" + routes, "--spring.cloud.gateway.server.webflux.trusted-proxies=127\\.0\\.0\\.1", "--spring.cloud.discovery.client.simple.instances.product-service[0].uri=" + upstream,
            // otherwise Resilience4j's default limit of one second applies instead of the routes' limits
            "--spring.cloud.circuitbreaker.resilience4j.disable-time-limiter=true");
        String spring = "http://127.0.0.1:" + context.getEnvironment().getProperty("local.server.port");
        var settings = Map.of("TRADEPOST__GATEWAY__ROUTES", routes.toString(), "UPSTREAM", upstream, "DEAD", dead,
            "TRADEPOST__PEERS__PRODUCT", upstream, "TRADEPOST__IDENTITY__ISSUER", dead,
            // both trust the forwarding headers of this test, as of a proxy
            "TRADEPOST__GATEWAY__TRUSTED_PROXIES", "127.0.0.1",
            // Spring runs without security here, so all our paths are public too
            "TRADEPOST__GATEWAY__PUBLIC", "/**");
        String ours = Tradepost.start(data, settings, "serve", "--modules", "gateway", "--port", "0").url();
        var seen = new HashSet<Always>();
        int number = 0;
        for (Ask ask : Asks.all()) {
            number++;
            var springs = outcome(spring, ask, "spring" + number);
            var own = outcome(ours, ask, "ours" + number);
            if (ask.refused == null) {
                compare(checks, ask, springs, own, seen);
            } else {
                refused(checks, ask, springs, own);
            }
        }
        // an unused exception would hide the next difference of its kind
        for (Always difference : Asks.ALWAYS) {
            String what = difference.key() + ": Spring " + difference.spring() + ", we " + difference.ours() + ", since " + difference.why();
            checks.that("on purpose, " + what, seen.contains(difference), "this was never seen");
        }
    }

    private static void refused(Checks checks, Ask ask, Map<String, String> spring, Map<String, String> ours) {
        String happened = "Spring " + spring.get("status") + " at " + spring.get("upstream path") + ", we " + ours.get("status") + " at " + ours.get("upstream path");
        boolean asMeant = spring.get("status").equals("200") && spring.containsKey("upstream path")
            && ours.get("status").equals("400") && !ours.containsKey("upstream path") && ask.target.equals(ours.get("error path"));
        checks.that(ask + " -> 400; on purpose, Spring sends it on, since " + ask.refused, asMeant, "expected Spring to send it on and us to answer 400, got " + happened);
    }

    private static void compare(Checks checks, Ask ask, Map<String, String> spring, Map<String, String> ours, Set<Always> seen) {
        var wrong = new TreeMap<String, String>();
        var keys = new TreeSet<String>();
        Stream.of(spring.keySet(), ours.keySet(), ask.differences.keySet()).forEach(keys::addAll);
        var notes = new StringBuilder();
        for (String key : keys) {
            var intended = ask.differences.get(key);
            if (intended != null) {
                if (!Objects.equals(intended.spring(), spring.get(key)) || !Objects.equals(intended.ours(), ours.get(key))) {
                    wrong.put(key, "Spring should have " + intended.spring() + " and has " + spring.get(key) + ", we should have " + intended.ours() + " and have " + ours.get(key));
                }
                notes.append("; on purpose, ").append(key).append(": Spring ").append(intended.spring()).append(", we ").append(intended.ours()).append(", since ").append(intended.why());
            } else if (!Objects.equals(spring.get(key), ours.get(key))) {
                var always = Asks.ALWAYS.stream().filter(a -> a.covers(key, spring.get(key), ours.get(key))).findFirst();
                always.ifPresentOrElse(seen::add, () -> wrong.put(key, "expected as Spring " + spring.get(key) + " got " + ours.get(key)));
            }
        }
        if (ask.status != null && !String.valueOf(ask.status).equals(spring.get("status"))) {
            wrong.put("status", "this request is not the test that it is meant to be: expected " + ask.status + ", Spring answers " + spring.get("status"));
        }
        checks.that(ask + " -> " + ours.get("status") + notes, wrong.isEmpty(), wrong.toString());
    }

    /** All values of a response, and of the request that the upstream received. */
    private static Map<String, String> outcome(String gateway, Ask ask, String run) throws Exception {
        var headers = Stream.concat(ask.headers.stream(), Stream.of("X-Echo-Run", run)).toArray(String[]::new);
        Http.Answer answer = Http.send(ask.method, gateway + ask.target, ask.body, headers);
        var seen = new HashMap<String, String>();
        seen.put("status", String.valueOf(answer.status()));
        answer.headers().map().forEach((name, values) -> seen.put("header " + name.toLowerCase(), values.toString()));
        JsonNode upstream = json(answer);
        if (upstream.has("timestamp")) {
            // an error of the gateway itself: the formats differ, but have these fields in common
            seen.keySet().removeAll(List.of("header content-type", "header content-length"));
            seen.put("form of errors", answer.headers().firstValue("content-type").orElse("none"));
            seen.put("error status", upstream.path("status").asText());
            seen.put("error path", upstream.path("path").asText());
            return seen;
        }
        if (!upstream.has("call")) {
            seen.put("body", answer.body());
            return seen;
        }
        // its length depends on headers with intended differences
        seen.remove("header content-length");
        for (String key : List.of("method", "path", "query", "body", "call")) {
            seen.put("upstream " + key, upstream.get(key).asText());
        }
        upstream.get("headers").fields().forEachRemaining(header -> {
            String value = header.getValue().toString().replace(gateway.substring("http://".length()), "<gateway>");
            if (header.getKey().equals("x-forwarded-port")) {
                value = value.replace(gateway.substring(gateway.lastIndexOf(':') + 1), "<port>");
            }
            if (!header.getKey().startsWith("x-echo-")) {
                seen.put("upstream header " + header.getKey(), value);
            }
        });
        return seen;
    }

    private static JsonNode json(Http.Answer answer) {
        try {
            return answer.json();
        } catch (IOException cause) {
            return com.fasterxml.jackson.databind.node.MissingNode.getInstance();
        }
    }
}
