package shop.interop;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

/**
* The upstream of both gateways: responds with the request that it received. Headers of a request change the
* response: X-Echo-Status, X-Echo-Header (name=value, several), X-Echo-Pause (ms), and X-Echo-Fail (how
* many calls with the same X-Echo-Run get the status before one gets 200).
 */
final class Echo {
    private final HttpServer server;
    private final Map<String, Integer> calls = new ConcurrentHashMap<>();

    Echo() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0), 0);
        server.setExecutor(Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        }));
        server.createContext("/", this::answer);
        server.start();
    }

    String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    /** A port without a listener. */
    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 0, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private void answer(HttpExchange exchange) throws IOException {
        var asked = exchange.getRequestHeaders();
        var headers = new TreeMap<String, List<String>>();
        asked.forEach((name, values) -> headers.put(name.toLowerCase(), values));
        String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        int call = calls.merge(String.valueOf(asked.getFirst("X-Echo-Run")), 1, Integer::sum);
        var seen = new TreeMap<String, Object>();
        seen.put("method", exchange.getRequestMethod());
        seen.put("path", exchange.getRequestURI().getRawPath());
        seen.put("query", String.valueOf(exchange.getRequestURI().getRawQuery()));
        seen.put("headers", headers);
        seen.put("body", body);
        seen.put("call", call);
        byte[] answer = new ObjectMapper().writeValueAsBytes(seen);
        if (asked.containsKey("X-Echo-Pause")) {
            pause(Long.parseLong(asked.getFirst("X-Echo-Pause")));
        }
        int status = asked.containsKey("X-Echo-Status") ? Integer.parseInt(asked.getFirst("X-Echo-Status")) : 200;
        if (asked.containsKey("X-Echo-Fail") && call > Integer.parseInt(asked.getFirst("X-Echo-Fail"))) {
            status = 200;
        }
        exchange.getResponseHeaders().add("Content-Type", "application/json");
        for (String header : asked.getOrDefault("X-Echo-Header", List.of())) {
            exchange.getResponseHeaders().add(header.split("=", 2)[0], header.split("=", 2)[1]);
        }
        boolean bodiless = exchange.getRequestMethod().equals("HEAD") || status == 204 || status == 304;
        try (exchange) {
            exchange.sendResponseHeaders(status, bodiless ? -1 : answer.length);
            if (!bodiless) {
                exchange.getResponseBody().write(answer);
            }
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException cause) {
            throw new IllegalStateException(cause);
        }
    }
}
