package shop.interop;

import com.fasterxml.jackson.databind.JsonNode;
import de.codecentric.boot.admin.server.config.EnableAdminServer;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.StreamSupport;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;

/** The real Spring Boot Admin server: it discovers our modules through our registry, reads their actuators and changes one. */
@SpringBootApplication
@EnableAdminServer
public class AdminInterop {
    private static final String REALM = "/realms/spring-cloud-microservices-realm";
    private static final String USER = "monitor";
    private static final String PASSWORD = "what-monitors-know";
    private static final Set<String> APPLICATIONS =
        Set.of("API-GATEWAY", "IDENTITY-SERVICE", "INVENTORY-SERVICE", "NOTIFICATION-SERVICE", "ORDER-SERVICE", "PRODUCT-SERVICE");
    private static final String LOGGER = "tradepost::modules::order";

    public static void main(String[] arguments) {
        new Checks("admin").run(AdminInterop::check);
    }

    private static void check(Checks checks) throws Exception {
        Path data = Files.createTempDirectory(Path.of(System.getProperty("work")), "admin");
        var settings = Map.of("TRADEPOST__ACTUATOR__USER", USER, "TRADEPOST__ACTUATOR__PASSWORD", PASSWORD, "TRADEPOST__GATEWAY__ACTUATOR", "true");
        try (Tradepost shop = Tradepost.start(data, settings, "up", "--split", "--data", data.toString(), "--port", "0", "--registry-port", "0")) {
            String password = Files.readString(data.resolve("registry/password")).trim();
            String registry = shop.url("registry").replace("http://", "http://tradepost:" + password + "@") + "/eureka";
            new Run(checks, shop, data, registry, start(registry)).all();
        }
    }

    /** Starts the server. Only its own settings contain the password, not the registry. Returns its URL. */
    private static String start(String registry) {
        var context = new SpringApplicationBuilder(AdminInterop.class).run(
            "--server.port=0", "--server.address=127.0.0.1", "--spring.main.banner-mode=off", "--logging.level.root=WARN",
            "--eureka.client.service-url.defaultZone=" + registry, "--eureka.client.register-with-eureka=false",
            "--eureka.client.registry-fetch-interval-seconds=2",
            "--spring.boot.admin.instance-auth.default-user-name=" + USER, "--spring.boot.admin.instance-auth.default-password=" + PASSWORD,
            // the interval is also the timeout
            "--spring.boot.admin.monitor.status-interval=5s", "--spring.boot.admin.monitor.status-lifetime=1s",
            "--spring.thymeleaf.check-template-location=false");
        return "http://127.0.0.1:" + context.getEnvironment().getProperty("local.server.port");
    }

    private record Run(Checks checks, Tradepost shop, Path data, String registry, String admin) {
        void all() throws Exception {
            found();
            place();
            for (String name : new TreeSet<>(APPLICATIONS)) {
                looksInto(name, instance(name));
            }
            orders(instance("ORDER-SERVICE"));
            gateway(instance("API-GATEWAY"));
            changesOne(instance("ORDER-SERVICE").path("id").asText());
            comesAndGoes();
        }

        private JsonNode ask(String path) throws Exception {
            return Http.get(admin + path, "Accept", "application/json").json();
        }

        /** Names and statuses of all instances, sorted. */
        private List<String> statuses() throws Exception {
            return StreamSupport.stream(ask("/instances").spliterator(), false)
                .map(one -> one.at("/registration/name").asText().toUpperCase() + " " + one.at("/statusInfo/status").asText()).sorted().toList();
        }

        private JsonNode instance(String name) throws Exception {
            for (JsonNode one : ask("/instances")) {
                if (one.at("/registration/name").asText().equalsIgnoreCase(name)) {
                    return one;
                }
            }
            throw new IllegalStateException("no instance of " + name);
        }

        private void found() throws Exception {
            var expected = APPLICATIONS.stream().sorted().map(name -> name + " UP").toList();
            checks.becomes("every module is found by our registry and is up", this::statuses, expected::equals);
            var applications = new TreeMap<String, String>();
            ask("/applications").forEach(one -> applications.put(one.path("name").asText().toUpperCase(), one.path("status").asText()));
            checks.that("and so are the applications", applications.keySet().equals(APPLICATIONS) && Set.copyOf(applications.values()).equals(Set.of("UP")), applications.toString());
        }

        /** Creates data to display. */
        private void place() throws Exception {
            String order = "{\"orderLineItems\":[{\"skuCode\":\"85123A\",\"quantity\":1}]}";
            var placed = Http.send("POST", shop.url() + "/api/v1/orders", order, "Authorization", Http.bearer(shop.url(), "alice"), "Content-Type", "application/json");
            checks.same("an order is placed", 201, placed.status());
        }

        private JsonNode through(String id, String endpoint) throws Exception {
            var answer = Http.get(admin + "/instances/" + id + "/actuator/" + endpoint, "Accept", "application/vnd.spring-boot.actuator.v3+json,application/json");
            if (answer.status() != 200) {
                throw new IllegalStateException(endpoint + ": " + answer);
            }
            return answer.json();
        }

        private void looksInto(String name, JsonNode instance) throws Exception {
            String id = instance.path("id").asText();
            var endpoints = new TreeSet<String>();
            instance.path("endpoints").forEach(one -> endpoints.add(one.path("id").asText()));
            var expected = Set.of("health", "info", "metrics", "env", "loggers", "httpexchanges", "threaddump", "mappings", "configprops", "refresh");
            checks.that(name + ": the index leads to every endpoint", endpoints.containsAll(expected), endpoints.toString());
            checks.that(name + ": no value in the registry is a password", !instance.path("registration").toString().contains(PASSWORD), instance.toString());
            JsonNode build = checks.becomes(name + ": its build's version is known", () -> instance(name).path("buildVersion"), version -> version.asText().matches("\\d+\\.\\d+\\.\\d+.*"));
            checks.same(name + ": and the one of its info", build == null ? "" : build.asText(), through(id, "info").at("/build/version").asText());
            JsonNode health = through(id, "health");
            checks.that(name + ": health has details", health.at("/components/discovery/details/instances").asInt() == 6, health.toString());
            checks.that(name + ": uptime", through(id, "metrics/process.uptime").at("/measurements/0/value").asDouble() > 0, "none");
            checks.that(name + ": processors", through(id, "metrics/system.cpu.count").at("/measurements/0/value").asInt() > 0, "none");
            checks.that(name + ": environment", through(id, "env").at("/propertySources/0/properties/actuator.password/value").asText().equals("******"), "not masked");
            checks.that(name + ": process id", through(id, "env/PID").at("/property/value").asInt() > 1, "none");
            checks.that(name + ": settings by section", through(id, "configprops").at("/contexts/application/beans/tradepost.server/properties/workers").isInt(), "none");
            checks.that(name + ": mappings", through(id, "mappings").at("/contexts/application/mappings/dispatcherHandlers/webHandler").size() > 10, "few");
            checks.that(name + ": threads", through(id, "threaddump").path("threads").size() > 1, "few");
            checks.that(name + ": loggers", through(id, "loggers").at("/loggers/tradepost::app::serve/effectiveLevel").asText().equals("INFO"), "none");
        }

        private void orders(JsonNode order) throws Exception {
            String id = order.path("id").asText();
            JsonNode requests = through(id, "metrics/http.server.requests?tag=uri:/api/v1/orders&tag=method:POST&tag=status:201");
            checks.that("the order is in http.server.requests", requests.at("/measurements/0/value").asDouble() == 1, requests.toString());
            JsonNode exchange = null;
            for (JsonNode one : through(id, "httpexchanges").path("exchanges")) {
                exchange = one.at("/request/uri").asText().endsWith("/api/v1/orders") ? one : exchange;
            }
            checks.that("and among the exchanges", exchange != null && exchange.at("/response/status").asInt() == 201, String.valueOf(exchange));
            checks.that("without the token", exchange != null && !exchange.toString().toLowerCase().contains("authorization"), String.valueOf(exchange));
            JsonNode health = through(id, "health");
            checks.that("the order's store has details", health.at("/components/orderStore/details/outbox").isInt(), health.toString());
            var unknown = Http.get(admin + "/instances/" + id + "/actuator/metrics/jvm.memory.used");
            checks.same("a metric of a JVM is unknown", 404, unknown.status());
        }

        private void gateway(JsonNode gateway) throws Exception {
            JsonNode routes = through(gateway.path("id").asText(), "gateway/routes");
            checks.that("the gateway's routes", routes.toString().contains("\"order-service\""), routes.toString());
        }

        /** The module's own response. */
        private String level() throws Exception {
            String url = shop.url("order") + "/actuator/loggers/" + encoded(LOGGER);
            return Http.get(url, "Authorization", Http.basic(USER, PASSWORD)).json().toString();
        }

        private void changesOne(String id) throws Exception {
            String path = admin + "/instances/" + id + "/actuator/loggers/" + encoded(LOGGER);
            String before = level();
            int changed = Http.send("POST", path, "{\"configuredLevel\":\"DEBUG\"}", "Content-Type", "application/json").status();
            checks.same("a log level is changed", 204, changed);
            checks.same("at the module itself", "{\"configuredLevel\":\"DEBUG\",\"effectiveLevel\":\"DEBUG\"}", level());
            checks.same("and taken back", 204, Http.send("POST", path, "{}", "Content-Type", "application/json").status());
            checks.same("as it was", before, level());
        }

        /** A second instance of product registers, is killed, restarts and unregisters. */
        private void comesAndGoes() throws Exception {
            var environment = new HashMap<String, String>();
            environment.put("TRADEPOST__REGISTRY__URL", registry);
            environment.put("TRADEPOST__IDENTITY__ISSUER", shop.url() + REALM);
            environment.put("TRADEPOST__IDENTITY__CLIENT_SECRET", Files.readString(data.resolve("identity/service-secret")).trim());
            // long enough to show it as down before its lease expires
            environment.put("TRADEPOST__REGISTRY__LEASE_SECONDS", "30");
            environment.put("TRADEPOST__ACTUATOR__USER", USER);
            environment.put("TRADEPOST__ACTUATOR__PASSWORD", PASSWORD);
            String[] second = {"serve", "--modules", "product", "--port", "0"};
            Tradepost joined = Tradepost.start(data, environment, second);
            checks.becomes("a second instance of product joins", this::products, "[UP, UP]"::equals);
            joined.kill();
            checks.becomes("killed, it is offline", this::products, "[OFFLINE, UP]"::equals);
            checks.becomes("and gone when its lease has ended", this::products, "[UP]"::equals);
            joined = Tradepost.start(data, environment, second);
            checks.becomes("another comes", this::products, "[UP, UP]"::equals);
            checks.same("and ends in order", 0, joined.stop());
            checks.becomes("which is gone at once", this::products, "[UP]"::equals);
        }

        private String products() throws Exception {
            return statuses().stream().filter(one -> one.startsWith("PRODUCT-SERVICE ")).map(one -> one.split(" ")[1]).toList().toString();
        }

        private static String encoded(String text) {
            return URLEncoder.encode(text, StandardCharsets.UTF_8);
        }
    }
}
