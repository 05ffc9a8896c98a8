package shop.interop;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import com.fasterxml.jackson.databind.JsonNode;
import com.netflix.appinfo.InstanceInfo.InstanceStatus;
import com.netflix.discovery.EurekaClient;
import feign.FeignException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import org.slf4j.LoggerFactory;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.openfeign.EnableFeignClients;
import org.springframework.cloud.openfeign.FeignClient;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** A real Spring Cloud Eureka client with OpenFeign against our registry and our services. */
@SpringBootApplication
@EnableFeignClients
@RestController
public class ClientInterop {
    private static final String APP = "INTEROP-CLIENT";

    @FeignClient("product-service")
    interface Products {
        @GetMapping("/api/v1/products")
        JsonNode page(@RequestHeader(value = "Authorization", required = false) String token, @RequestParam("size") int size);
    }

    @FeignClient("order-service")
    interface Orders {
        @PostMapping("/api/v1/orders")
        JsonNode place(@RequestHeader("Authorization") String token, @RequestBody Map<String, Object> order);
    }

    /** Endpoint for callers that discover this instance. */
    @GetMapping("/greeting")
    String greeting() {
        return "from a Spring client";
    }

    public static void main(String[] arguments) {
        new Checks("client").run(ClientInterop::check);
    }

    private static void check(Checks checks) throws Exception {
        Path data = Files.createTempDirectory(Path.of(System.getProperty("work")), "client");
        var settings = Map.of("TRADEPOST__GATEWAY__DISCOVERY_LOCATOR", "true");
        try (Tradepost shop = Tradepost.start(data, settings, "up", "--split", "--data", data.toString(), "--port", "0", "--registry-port", "0")) {
            String password = Files.readString(data.resolve("registry/password")).trim();
            new Run(checks, shop.url(), shop.url("registry") + "/eureka", password).all();
        }
    }

    /** Log lines of the client. */
    private static final class Words extends AppenderBase<ILoggingEvent> {
        private final List<String> said = new CopyOnWriteArrayList<>();

        @Override
        protected void append(ILoggingEvent event) {
            said.add(event.getFormattedMessage());
        }

        long count(String part) {
            return said.stream().filter(line -> line.contains(part)).count();
        }
    }

    private record Run(Checks checks, String front, String registry, String password) {
        private static final Words WORDS = new Words();

        void all() throws Exception {
            ConfigurableApplicationContext client = start(password);
            String id = registration(client);
            reading(client);
            calling(client);
            overrides(client);
            overrideOfItself(client, id);
            foreign("DELETE", "/apps/" + APP + "/" + encoded(id), 200);
            checks.becomes("when the registry has forgotten it, it registers again", () -> instance(APP), i -> i.path("status").asText().equals("UP"));
            client.close();
            checks.same("on shutdown it is gone from the registry", 404, Http.get(registry + "/apps/" + APP + "/" + id).status());
            checks.same("and its application with it", 404, Http.get(registry + "/apps/" + APP).status());
            strangers();
        }

        private ConfigurableApplicationContext start(String password) {
            String url = registry.replace("http://", "http://tradepost:" + password + "@");
            var client = new SpringApplicationBuilder(ClientInterop.class).run(
                "--server.port=0", "--server.address=127.0.0.1", "--spring.application.name=interop-client", "--spring.main.banner-mode=off",
                "--logging.level.root=WARN", "--eureka.client.service-url.defaultZone=" + url, "--eureka.instance.hostname=127.0.0.1",
                "--eureka.client.registry-fetch-interval-seconds=1", "--eureka.instance.lease-renewal-interval-in-seconds=1",
                "--eureka.client.instance-info-replication-interval-seconds=1", "--eureka.client.initial-instance-info-replication-interval-seconds=0",
                "--eureka.instance.lease-expiration-duration-in-seconds=30", "--eureka.instance.metadata-map.team=interop",
                "--spring.cloud.loadbalancer.cache.enabled=false",
                "--eureka.instance.instance-id=127.0.0.1:interop-client:1");
            listen();
            return client;
        }

        /** Each start configures logging again. */
        private static void listen() {
            WORDS.start();
            Logger logger = (Logger) LoggerFactory.getLogger("com.netflix.discovery");
            logger.addAppender(WORDS);
            logger.setLevel(Level.DEBUG);
            logger.setAdditive(false);
        }

        private JsonNode instance(String app) throws Exception {
            return Http.get(registry + "/apps/" + app, "Accept", "application/json").json().at("/application/instance/0");
        }

        private String registration(ConfigurableApplicationContext client) throws Exception {
            JsonNode own = checks.becomes("registers with the credentials in the URL", () -> instance(APP), i -> i.path("status").asText().equals("UP"));
            int port = Integer.parseInt(client.getEnvironment().getProperty("local.server.port", "0"));
            checks.same("its port is the one it listens on", port, own.at("/port/$").asInt());
            checks.same("the port is in use", "true", own.at("/port/@enabled").asText());
            checks.same("the secure one is not", "false", own.at("/securePort/@enabled").asText());
            checks.same("its virtual address", "interop-client", own.path("vipAddress").asText());
            checks.same("its host", "127.0.0.1", own.path("hostName").asText());
            checks.same("its metadata", "interop", own.at("/metadata/team").asText());
            checks.same("its lease", "1/30", own.at("/leaseInfo/renewalIntervalInSecs").asText() + "/" + own.at("/leaseInfo/durationInSecs").asText());
            checks.same("its data centre", "MyOwn", own.at("/dataCenterInfo/name").asText());
            long renewed = own.at("/leaseInfo/lastRenewalTimestamp").asLong();
            long registered = own.at("/leaseInfo/registrationTimestamp").asLong();
            JsonNode later = checks.becomes("renews", () -> instance(APP), i -> i.at("/leaseInfo/lastRenewalTimestamp").asLong() > renewed + 1500);
            checks.same("and is not registered anew for that", registered, later.at("/leaseInfo/registrationTimestamp").asLong());
            return own.path("instanceId").asText();
        }

        private void reading(ConfigurableApplicationContext client) throws Exception {
            var discovery = client.getBean(DiscoveryClient.class);
            var all = Set.of("product-service", "inventory-service", "order-service", "notification-service", "identity-service", "api-gateway", "interop-client");
            checks.becomes("reads the whole registry", () -> Set.copyOf(discovery.getServices()), all::equals);
            var eureka = client.getBean(EurekaClient.class);
            checks.becomes("computes the hash that the registry has", () -> {
                String ours = Http.get(registry + "/apps", "Accept", "application/json").json().at("/applications/apps__hashcode").asText();
                return ours + " " + eureka.getApplications().getReconcileHashCode();
            }, hashes -> hashes.equals("UP_7_ UP_7_"));
            checks.becomes("asks for deltas", () -> WORDS.count("Got delta update with apps hashcode"), n -> n > 2);
            long whole = WORDS.count("Getting all instance registry info");
            foreign("POST", "/apps/FOREIGN", 204);
            var found = checks.becomes("a delta contains a new instance", () -> discovery.getInstances("foreign-service"), list -> list.size() == 1);
            checks.same("with its address", "http://127.0.0.2:8099", found.get(0).getUri().toString());
            checks.same("and its metadata", "b", found.get(0).getMetadata().get("a"));
            foreign("PUT", "/apps/FOREIGN/h:foreign:1/metadata?a=c%20d", 200);
            checks.becomes("a delta contains a change", () -> discovery.getInstances("foreign-service").get(0).getMetadata().get("a"), "c d"::equals);
            foreign("DELETE", "/apps/FOREIGN/h:foreign:1", 200);
            checks.becomes("a delta contains a removal", () -> discovery.getInstances("foreign-service"), List::isEmpty);
            checks.same("no delta was in vain: nothing was fetched whole again", whole, WORDS.count("Getting all instance registry info"));
            checks.same("nor did any hash differ", 0L, WORDS.count("reconcile hashcodes do not match"));
        }

        private void foreign(String method, String path, int status) throws Exception {
            String body = """
                {"instance":{"instanceId":"h:foreign:1","hostName":"127.0.0.2","app":"FOREIGN","ipAddr":"127.0.0.2","status":"UP",
                "port":{"$":8099,"@enabled":"true"},"vipAddress":"foreign-service","metadata":{"a":"b"},
                "dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
                "leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":600},"lastDirtyTimestamp":"1"}}""";
            var answer = Http.send(method, registry + path, method.equals("POST") ? body : null,
                "Authorization", Http.basic("tradepost", password), "Content-Type", "application/json");
            if (answer.status() != status) {
                throw new IllegalStateException(method + " " + path + ": " + answer);
            }
        }

        private void calling(ConfigurableApplicationContext client) throws Exception {
            var products = client.getBean(Products.class);
            String token = Http.bearer(front, "alice");
            JsonNode page = products.page(token, 3);
            checks.same("OpenFeign calls product-service by its name", 3, page.path("content").size());
            checks.that("and reads products", page.at("/content/0/skuCode").asText().length() > 0, page.toString());
            checks.same("without a token it is refused", 401, status(() -> products.page(null, 3)));
            var line = Map.of("skuCode", "85123A", "quantity", 1);
            JsonNode order = client.getBean(Orders.class).place(token, Map.of("orderLineItems", List.of(line)));
            checks.same("OpenFeign places an order at order-service", "PLACED", order.path("status").asText());
            var greeting = checks.becomes("our gateway finds the Spring client and calls it",
                () -> Http.get(front + "/interop-client/greeting", "Authorization", token), answer -> answer.status() == 200);
            checks.same("with its own answer", "from a Spring client", greeting.body());
        }

        private static int status(Runnable call) {
            try {
                call.run();
                return 200;
            } catch (FeignException refused) {
                return refused.status();
            }
        }

        private void overrides(ConfigurableApplicationContext client) throws Exception {
            var discovery = client.getBean(DiscoveryClient.class);
            var eureka = client.getBean(EurekaClient.class);
            var products = client.getBean(Products.class);
            String token = Http.bearer(front, "alice");
            String path = "/apps/PRODUCT-SERVICE/" + encoded(instance("PRODUCT-SERVICE").path("instanceId").asText()) + "/status";
            foreign("PUT", path + "?value=OUT_OF_SERVICE", 200);
            checks.becomes("it sees an instance put out of service",
                () -> eureka.getApplication("PRODUCT-SERVICE").getInstancesAsIsFromEureka().get(0).getStatus(), InstanceStatus.OUT_OF_SERVICE::equals);
            checks.becomes("and resolves the service to no instance", () -> discovery.getInstances("product-service"), List::isEmpty);
            checks.same("OpenFeign then calls no instance", 503, status(() -> products.page(token, 1)));
            JsonNode over = instance("PRODUCT-SERVICE");
            checks.same("the registry shows the override", "OUT_OF_SERVICE/OUT_OF_SERVICE",
                over.path("status").asText() + "/" + over.path("overriddenStatus").asText(over.path("overriddenstatus").asText()));
            foreign("DELETE", path, 200);
            checks.becomes("it sees the override lifted", () -> discovery.getInstances("product-service"), list -> list.size() == 1);
            checks.same("and OpenFeign calls it again", 1, products.page(token, 1).path("content").size());
        }

        /** An operator overrides the Spring client's own status and removes the override: the client must keep it meanwhile. */
        private void overrideOfItself(ConfigurableApplicationContext client, String id) throws Exception {
            var eureka = client.getBean(EurekaClient.class);
            String path = "/apps/" + APP + "/" + encoded(id) + "/status";
            foreign("PUT", path + "?value=OUT_OF_SERVICE", 200);
            checks.becomes("it sees itself out of service", eureka::getInstanceRemoteStatus, InstanceStatus.OUT_OF_SERVICE::equals);
            long renewed = instance(APP).at("/leaseInfo/lastRenewalTimestamp").asLong();
            checks.becomes("it goes on renewing", () -> instance(APP), i -> i.at("/leaseInfo/lastRenewalTimestamp").asLong() > renewed + 2500);
            checks.same("and its renewals do not undo it", "OUT_OF_SERVICE", instance(APP).path("status").asText());
            foreign("DELETE", path + "?value=UP", 200);
            checks.becomes("back in, it sees itself up", eureka::getInstanceRemoteStatus, InstanceStatus.UP::equals);
        }

        /** A registered instance receives calls of other services, so registering needs the password. */
        private void strangers() throws Exception {
            try (var stranger = start("wrong")) {
                checks.becomes("a client with a wrong password gets an error", () -> WORDS.count("failure with status code 401"), n -> n > 0);
                var apps = new TreeSet<String>();
                Http.get(registry + "/apps", "Accept", "application/json").json().at("/applications/application").forEach(app -> apps.add(app.path("name").asText()));
                checks.that("and is not in the registry", !apps.contains(APP) && apps.size() == 6, apps.toString());
            }
        }

        private static String encoded(String id) {
            return URLEncoder.encode(id, StandardCharsets.UTF_8);
        }
    }
}
