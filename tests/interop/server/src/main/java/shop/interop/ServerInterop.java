package shop.interop;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;
import org.springframework.context.ConfigurableApplicationContext;

/** The real Spring Cloud Eureka server with our modules as its clients. */
@SpringBootApplication
@EnableEurekaServer
public class ServerInterop {
    public static void main(String[] arguments) {
        new Checks("server").run(ServerInterop::check);
    }

    private static void check(Checks checks) throws Exception {
        Path data = Files.createTempDirectory(Path.of(System.getProperty("work")), "server");
        int port = freePort();
        ConfigurableApplicationContext server = start(port);
        Run run = new Run(checks, data, registry(port), new LinkedHashMap<>(), new HashMap<>());
        run.startAll();
        run.registrations();
        run.orders();
        run.overrides();
        run.moves();
        server.close();
        checks.same("with the server away an order is placed all the same", 201, run.place().status());
        start(port);
        run.knownAgain();
        run.departures();
    }

    /** Chosen in advance: the server is configured as its own only peer, and restarts at the same address. */
    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 0, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private static String registry(int port) {
        return "http://127.0.0.1:" + port + "/eureka";
    }

    /** With short caches and fast eviction, so that responses are current. */
    private static ConfigurableApplicationContext start(int port) {
        return new SpringApplicationBuilder(ServerInterop.class).run(
            "--server.port=" + port, "--server.address=127.0.0.1", "--spring.main.banner-mode=off", "--logging.level.root=WARN",
            "--spring.application.name=eureka", "--eureka.instance.hostname=127.0.0.1",
            "--eureka.client.service-url.defaultZone=" + registry(port), "--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false",
            "--eureka.server.response-cache-auto-expiration-in-seconds=1", "--eureka.server.use-read-only-response-cache=false", "--eureka.server.enable-self-preservation=false",
            "--eureka.server.eviction-interval-timer-in-ms=1000", "--eureka.server.wait-time-in-ms-when-sync-empty=0");
    }

    private record Run(Checks checks, Path data, String registry, Map<String, Tradepost> modules, Map<String, String> environment) {
        void startAll() throws Exception {
            environment.put("TRADEPOST__REGISTRY__URL", registry);
            environment.put("TRADEPOST__REGISTRY__RENEW_SECONDS", "1");
            environment.put("TRADEPOST__REGISTRY__LEASE_SECONDS", "5");
            environment.put("TRADEPOST__REGISTRY__FETCH_SECONDS", "1");
            environment.put("TRADEPOST__SERVER__WORKERS", "1");
            environment.put("TRADEPOST__ACTUATOR__PASSWORD", "interop");
            // the test opens breakers intentionally, but does not need the pause after it
            environment.put("TRADEPOST__RESILIENCE__OPEN_SECONDS", "1");
            String issuer = serve("identity").url() + "/realms/spring-cloud-microservices-realm";
            environment.put("TRADEPOST__IDENTITY__ISSUER", issuer);
            environment.put("TRADEPOST__IDENTITY__CLIENT_SECRET", Files.readString(data.resolve("identity/service-secret")).trim());
            for (String module : new String[] {"product", "inventory", "order", "notification", "gateway"}) {
                serve(module);
            }
        }

        private Tradepost serve(String module) throws Exception {
            Tradepost started = Tradepost.start(data, environment, "serve", "--modules", module, "--port", "0");
            modules.put(module, started);
            return started;
        }

        private static String app(String module) {
            return module.equals("gateway") ? "API-GATEWAY" : module.toUpperCase() + "-SERVICE";
        }

        private JsonNode instance(String module) throws Exception {
            return Http.get(registry + "/apps/" + app(module), "Accept", "application/json").json().at("/application/instance/0");
        }

        private int status(String module) throws Exception {
            return Http.get(registry + "/apps/" + app(module), "Accept", "application/json").status();
        }

        void registrations() throws Exception {
            for (var entry : modules.entrySet()) {
                String module = entry.getKey();
                String url = entry.getValue().url();
                String service = app(module).toLowerCase();
                JsonNode one = checks.becomes(module + " registers", () -> instance(module), i -> i.path("status").asText().equals("UP"));
                checks.same(module + "'s virtual address", service, one.path("vipAddress").asText());
                checks.same(module + "'s secure virtual address", service, one.path("secureVipAddress").asText());
                checks.same(module + "'s id", "127.0.0.1:" + service + ":" + entry.getValue().port(), one.path("instanceId").asText());
                checks.same(module + "'s host and address", "127.0.0.1/127.0.0.1", one.path("hostName").asText() + "/" + one.path("ipAddr").asText());
                checks.same(module + "'s port", entry.getValue().port() + "/true", one.at("/port/$").asText() + "/" + one.at("/port/@enabled").asText());
                checks.same(module + "'s secure port is off", "false", one.at("/securePort/@enabled").asText());
                checks.same(module + "'s home page", url + "/", one.path("homePageUrl").asText());
                checks.same(module + "'s status page", url + "/actuator/info", one.path("statusPageUrl").asText());
                checks.same(module + "'s health check", url + "/actuator/health", one.path("healthCheckUrl").asText());
                checks.same(module + " is healthy there", 200, Http.get(one.path("healthCheckUrl").asText()).status());
                checks.same(module + "'s data centre", "MyOwn", one.at("/dataCenterInfo/name").asText());
                checks.same(module + "'s management port and path, for Spring Boot Admin", entry.getValue().port() + "/actuator",
                    one.at("/metadata/management.port").asText() + one.at("/metadata/management.context-path").asText());
                checks.same(module + "'s lease", "1/5", one.at("/leaseInfo/renewalIntervalInSecs").asText() + "/" + one.at("/leaseInfo/durationInSecs").asText());
                long renewed = one.at("/leaseInfo/lastRenewalTimestamp").asLong();
                JsonNode later = checks.becomes(module + " renews", () -> instance(module), i -> i.at("/leaseInfo/lastRenewalTimestamp").asLong() > renewed);
                checks.same(module + " is not registered anew for that", one.at("/leaseInfo/registrationTimestamp"), later.at("/leaseInfo/registrationTimestamp"));
            }
        }

        Http.Answer place() throws Exception {
            String token = Http.bearer(modules.get("identity").url(), "alice");
            return Http.send("POST", modules.get("gateway").url() + "/api/v1/orders", "{\"orderLineItems\":[{\"skuCode\":\"85123A\",\"quantity\":1}]}",
                "Authorization", token, "Content-Type", "application/json");
        }

        private void placed(String what) throws Exception {
            var answer = checks.becomes(what, this::place, a -> a.status() == 201);
            checks.same("it is placed for good", "PLACED", answer.json().path("status").asText());
        }

        void orders() throws Exception {
            for (var entry : modules.entrySet()) {
                checks.becomes(entry.getKey() + " has found all six", () -> Http.get(entry.getValue().url() + "/actuator/health", "Authorization", Http.basic("tradepost", "interop")).json().at("/components/discovery/details/instances").asInt(), n -> n == 6);
            }
            String admin = Http.bearer(modules.get("identity").url(), "admin");
            String front = modules.get("gateway").url();
            var created = checks.becomes("a product is made through the gateway", () -> Http.send("POST", front + "/api/v1/products",
                "{\"skuCode\":\"85123A\",\"name\":\"Holder\",\"description\":\"A light\",\"price\":2.55}", "Authorization", admin, "Content-Type", "application/json"), a -> a.status() == 201);
            checks.same("with its code", "85123A", created.json().path("skuCode").asText());
            checks.becomes("its stock is made: inventory finds product", () -> Http.send("POST", front + "/api/v1/inventory",
                "{\"skuCode\":\"85123A\",\"quantity\":100}", "Authorization", admin, "Content-Type", "application/json"), a -> a.status() == 201);
            placed("an order is placed: the gateway finds order, order finds product and inventory");
        }

        void overrides() throws Exception {
            String path = registry + "/apps/PRODUCT-SERVICE/" + instance("product").path("instanceId").asText() + "/status";
            checks.same("product is put out of service at the server", 200, Http.send("PUT", path + "?value=OUT_OF_SERVICE", null).status());
            checks.becomes("no order is placed without it", this::place, a -> a.status() == 503);
            checks.becomes("its renewals do not undo that", () -> instance("product"), i -> i.path("status").asText().equals("OUT_OF_SERVICE"));
            checks.same("the override is lifted", 200, Http.send("DELETE", path, null).status());
            checks.becomes("product is up again", () -> instance("product"), i -> i.path("status").asText().equals("UP"));
            placed("and orders are placed again");
        }

        void moves() throws Exception {
            modules.get("product").kill();
            checks.becomes("a product killed outright is evicted when its lease ends", () -> status("product"), s -> s == 404);
            serve("product");
            checks.becomes("another takes its place", () -> instance("product").at("/port/$").asInt(), p -> p == modules.get("product").port());
            placed("and is found at its new address");
        }

        void knownAgain() throws Exception {
            for (String module : modules.keySet()) {
                checks.becomes("a server that has lost its memory hears of " + module + " again", () -> status(module), s -> s == 200);
            }
            placed("and orders are placed as before");
        }

        void departures() throws Exception {
            for (String module : new String[] {"gateway", "notification", "order", "inventory", "product", "identity"}) {
                checks.same(module + " stops in order on SIGTERM", 0, modules.get(module).stop());
                checks.same(module + " has left the server by then", 404, status(module));
            }
            var all = Http.get(registry + "/apps", "Accept", "application/json").json();
            checks.same("no instance is left", 0, all.at("/applications/application").size());
        }
    }
}
