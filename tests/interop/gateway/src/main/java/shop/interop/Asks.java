package shop.interop;

import static shop.interop.Ask.ask;
import static shop.interop.Ask.get;

import java.util.List;
import shop.interop.Ask.Always;

/** The requests, and their intended differences. */
final class Asks {
    /** Differences that any request may have, with the reason. */
    static final List<Always> ALWAYS = List.of(
        new Always("header date", ".*", ".*", "each answers at its own moment"),
        new Always("header date", null, ".*", "Spring's own errors do not say when; RFC 9110 6.6.1 asks for it"),
        new Always("header x-trace-id", null, ".*", "our answers name the trace"),
        new Always("form of errors", "application/json", "application/problem.json", "ours are RFC 9457 problems, which have what Spring's have"),
        new Always("header retry-after", null, "\\[\\d+\\]", "our 503 says when to retry"),
        new Always("upstream header accept", "..\\*/\\*..", null, "no Accept means the same as */* (RFC 9110 12.5.1), which Spring's client adds"),
        new Always("upstream header forwarded", ".*", null, "it says the same as X-Forwarded-*, which is what services read"),
        new Always("upstream header traceparent", null, ".*", "the trace continues, or begins here"),
        new Always("upstream header b3", null, ".*", "the same, for services that read only B3"),
        new Always("upstream header date", null, ".*", "our client sends Date, as RFC 9110 6.6.1 permits"),
        new Always("upstream header via", null, ".*", "RFC 9110 7.6.3, and it detects a loop to the gateway itself"),
        new Always("upstream header x-request-timeout-ms", null, ".*", "the deadline travels with the request"));

    private static final String UTF8 = "Spring writes Latin-1 and loses what that lacks; we write UTF-8 and lose nothing";
    private static final String SEMICOLON = "a semicolon separates nothing: what is authorised, matched and forwarded is one and the same path";
    private static final String CHAIN = "the chain is extended; Spring adds nothing once a trusted proxy has named a client";
    private static final String FIRST = "one value is enough; services build links from it";
    private static final String FALLBACK = "the client's original address, which Spring loses when it forwards to a fallback";
    private static final String SIZE = "an error is reported in the body, in the common format";
    private static final String AWAY = "a service that is down is not a gateway error; nothing was sent, so the client may retry";
    private static final String AMBIGUOUS = "two servers could interpret this path differently; Spring forwards it unchanged";
    private static final String IDENTITY = "the gateway sets the caller's identity, not the client";

    private Asks() {}

    static List<Ask> all() {
        return List.of(
            // paths
            get("/red/blue").is(200),
            get("/blue/green/").is(200),
            get("/red/a%20b").is(200),
            get("/red/a+b").is(200),
            get("/red/%C3%A9t%C3%A9").is(200)
                // read as Latin-1, so UTF-8 appears as two characters
                .differs("header x-answer-colour", "[\u00e9t\u00e9]", "[\u00c3\u00a9t\u00c3\u00a9]", UTF8)
                .differs("upstream header x-colour", "[\"it is \u00e9t\u00e9\"]", "[\"it is \u00c3\u00a9t\u00c3\u00a9\"]", UTF8),
            get("/red/a,b@e:f!g$h&i'j(k)*").is(200),
            get("/red/a;b=c").is(200).differs("upstream path", "/colour/a", "/colour/a;b=c", SEMICOLON)
                .differs("header x-answer-colour", "[a]", "[a;b=c]", SEMICOLON)
                .differs("upstream header x-colour", "[\"it is a\"]", "[\"it is a;b=c\"]", SEMICOLON),
            get("/red/blue/deep").is(404),
            get("/Red/blue").is(404),
            get("/number/17").is(200),
            get("/number/seventeen").is(404),
            get("/rest").is(200),
            get("/rest/of/it").is(200),
            get("/rest/of/it/").is(200),
            get("/letter/a").is(200),
            get("/letter/ab").is(404),
            get("/ending/index.html").is(200),
            get("/ending/.html").is(200),
            get("/ending/index.htm").is(404),
            get("/strip/a/b/c?x=1&y=%20").is(200),
            get("/strip/a/b/").is(200),
            get("/strip/a").is(200),
            get("/strip").is(200),
            get("/prefix/a?q").is(200),
            get("/prefix").is(200),
            get("/rewrite/a/b%20c").is(200),
            get("/rewrite").is(200),
            get("/rewrite/").is(200),
            get("/swap/one/two/three").is(200),
            get("/several/old/thing").is(200),
            get("/").is(404),
            get("/none").is(404),
            // predicates
            ask("POST", "/method/x").body("text").is(200),
            ask("PUT", "/method/x").body("text").is(200),
            get("/method/x").is(404),
            get("/header/x").with("X-Request-Id", "12").is(200),
            get("/header/x").with("X-Request-Id", "12a").is(404),
            get("/header/x").with("X-Request-Id", "a").with("X-Request-Id", "12").is(200),
            get("/header/x").with("X-Flag", "").is(404),
            get("/header/x").with("X-Flag", "on").is(200),
            get("/header/x").with("X-Request-Id", "a, 12").is(200),
            get("/header/x").is(404),
            get("/query/x?red=green").is(200),
            get("/query/x?red=greens").is(404),
            get("/query/x?red=no&red=greet").is(200),
            get("/query/x?red=gree%6E").is(200),
            get("/query/x?blue").is(200),
            get("/query/x?blue=").is(200),
            get("/query/x?Blue=1").is(404),
            get("/cookie/x").with("Cookie", "a=b; chocolate=chip").is(200),
            get("/cookie/x").with("Cookie", "chocolate=chips").is(404),
            get("/cookie/x").with("Cookie", "chocolate=chop; chocolate=chips").is(200),
            get("/host/x").with("Host", "a.b.shop.example").is(200),
            get("/host/x").with("Host", "www.shop.example:8080").is(404),
            get("/host/x").with("Host", "shop.example").is(200),
            get("/host/x").with("Host", "shop.example:8443").is(200),
            get("/case/x").with("Host", "WWW.Shop.Example").is(200).differs("upstream header x-route", "[\"as-written\"]", "[\"any-case\"]", "names of hosts know no case (RFC 9110 4.2.3): capitals do not avoid a route"),
            get("/host/x").with("Host", "api.other.example").is(200),
            get("/host/x").with("Host", "www.other.example").is(404),
            get("/host/x").with("Host", "blue.tenants.example").is(200),
            get("/host/x").with("Host", "a.blue.tenants.example").is(404),
            get("/time/after").is(200),
            get("/time/between").is(200),
            get("/time/before").is(404),
            get("/remote/x").is(200),
            get("/remote/x").with("X-Forwarded-For", "10.0.0.1").is(200).differs("upstream header x-forwarded-for", "[\"10.0.0.1\"]", "[\"10.0.0.1, 127.0.0.1\"]", CHAIN)
                .differs("upstream header x-forwarded-host", null, "[\"<gateway>\"]", CHAIN)
                .differs("upstream header x-forwarded-port", null, "[\"<port>\"]", CHAIN)
                .differs("upstream header x-forwarded-proto", null, "[\"http\"]", CHAIN),
            get("/weight/x").is(200),
            get("/order/first").is(200),
            get("/order/second").is(200),
            get("/long/x?q=a,b").is(200),
            get("/lang/x?q=a,b").is(200),
            get("/long/x?q=a").is(404),
            // request filters
            get("/request/x?a=1&gone=2").with("X-Added", "zero").with("X-Set", "old").with("X-Gone", "1").is(200),
            get("/request/x").is(200),
            get("/kept-host/x").with("Host", "www.shop.example").is(200),
            get("/prefix/x").with("Host", "www.shop.example").is(200),
            ask("POST", "/prefix/x").body("some text").is(200),
            ask("DELETE", "/prefix/x").is(200),
            ask("PATCH", "/prefix/x").body("patch").is(200),
            ask("HEAD", "/prefix/x").is(200).differs("header transfer-encoding", "[chunked]", null, "the upstream said nothing of a length, and there is no body to be chunked"),
            ask("OPTIONS", "/prefix/x").is(200),
            get("/prefix/x").with("Authorization", "Bearer token").with("Cookie", "a=b").with("Accept", "text/html").with("X-Own", "1").with("X-Own", "2").is(200),
            ask("POST", "/size/x").body("0123456789").is(200),
            ask("POST", "/size/x").body("0123456789a").is(413)
                .differs("body", "", null, SIZE).differs("form of errors", null, "application/problem+json", SIZE)
                .differs("error status", null, "413", SIZE).differs("error path", null, "/size/x", SIZE)
                .differs("header content-length", "[0]", null, SIZE)
                .differs("header errormessage", "[Request size is larger than permissible limit. Request size is 11 B where permissible limit is 10 B]", null, SIZE)
                .differs("header connection", null, "[close]", "what is left of the body is not read"),
            // response filters
            get("/response/x").with("X-Echo-Header", "X-Added=zero").with("X-Echo-Header", "X-Set=old").with("X-Echo-Header", "X-Gone=1").is(200),
            get("/response/x").with("X-Echo-Status", "418").is(418),
            get("/response/x").with("X-Echo-Status", "204").is(204),
            get("/response/x").with("X-Echo-Status", "304").is(304),
            get("/response/x").with("X-Echo-Status", "302").with("X-Echo-Header", "Location=/there").is(302),
            get("/dedupe/x").with("X-Echo-Header", "X-First=a").with("X-Echo-Header", "X-First=b").with("X-Echo-Header", "X-Other=c").with("X-Echo-Header", "X-Last=a").with("X-Echo-Header", "X-Last=b")
                .with("X-Echo-Header", "X-Unique=a").with("X-Echo-Header", "X-Unique=b").with("X-Echo-Header", "X-Unique=a").is(200),
            get("/secure/x").is(200),
            get("/secure/x").with("X-Echo-Header", "X-Frame-Options=SAMEORIGIN").is(200),
            get("/redirect/x?a=1").is(302),
            get("/redirect-query/x?a=1").is(301),
            get("/status/name").is(400),
            get("/status/number").is(401),
            get("/prefix/x").with("X-Echo-Header", "Set-Cookie=a=b").with("X-Echo-Header", "Set-Cookie=c=d").with("X-Echo-Header", "Server=upstream").is(200),
            // trouble
            get("/retry/x").with("X-Echo-Status", "502").with("X-Echo-Fail", "2").is(200),
            get("/retry/x").with("X-Echo-Status", "502").with("X-Echo-Fail", "9").is(502),
            get("/retry/x").with("X-Echo-Status", "503").with("X-Echo-Fail", "1").is(200),
            get("/retry/x").with("X-Echo-Status", "404").with("X-Echo-Fail", "1").is(404),
            ask("PUT", "/retry/x").body("again").with("X-Echo-Status", "502").with("X-Echo-Fail", "1").is(200),
            ask("POST", "/retry/x").body("once").with("X-Echo-Status", "502").with("X-Echo-Fail", "1").is(502),
            get("/retry-default/x").with("X-Echo-Status", "500").with("X-Echo-Fail", "2").is(200),
            get("/retry-default/x").with("X-Echo-Status", "500").with("X-Echo-Fail", "9").is(500),
            get("/broken/x?a=1").is(200)
                .differs("upstream header x-forwarded-host", null, "[\"<gateway>\"]", FALLBACK)
                .differs("upstream header x-forwarded-port", "[\"80\"]", "[\"<port>\"]", FALLBACK)
                .differs("upstream header x-forwarded-proto", null, "[\"http\"]", FALLBACK),
            ask("POST", "/broken/x").is(200)
                .differs("upstream header x-forwarded-host", null, "[\"<gateway>\"]", FALLBACK)
                .differs("upstream header x-forwarded-port", "[\"80\"]", "[\"<port>\"]", FALLBACK)
                .differs("upstream header x-forwarded-proto", null, "[\"http\"]", FALLBACK),
            get("/broken-by-status/x").is(200),
            get("/broken-by-status/x").with("X-Echo-Status", "500").is(500)
                .differs("upstream header x-forwarded-host", null, "[\"<gateway>\"]", FALLBACK)
                .differs("upstream header x-forwarded-port", "[\"80\"]", "[\"<port>\"]", FALLBACK)
                .differs("upstream header x-forwarded-proto", null, "[\"http\"]", FALLBACK),
            get("/broken-by-status/x").with("X-Echo-Status", "403").is(403),
            get("/broken-alone/x").is(500).differs("status", "500", "503", AWAY).differs("error status", "500", "503", AWAY),
            get("/dead/x").is(500).differs("status", "500", "503", AWAY).differs("error status", "500", "503", AWAY),
            get("/slow/x").with("X-Echo-Pause", "8000").is(504),
            get("/slow/x").is(200),
            // services
            get("/balanced/x").is(200),
            get("/absent/x").is(503),
            get("/nowhere/x").is(410),
            // requests that we reject
            refused("/prefix/a%2Fb"),
            refused("/prefix/a%5Cb"),
            refused("/prefix/a%00b"),
            refused("/prefix/a%252Fb"),
            refused("/prefix/%2E%2E/secret"),
            get("/prefix//double").is(200),
            get("/prefix/%61bc").is(200).differs("upstream path", "/my/path/prefix/%61bc", "/my/path/prefix/abc", "one form of the path is authorised, matched and forwarded"),
            get("/prefix/x").with("X-User-Id", "admin").with("X-Auth-Roles", "admin").is(200)
                .differs("upstream header x-user-id", "[\"admin\"]", null, IDENTITY).differs("upstream header x-auth-roles", "[\"admin\"]", null, IDENTITY),
            get("/prefix/x").with("X_User_Id", "admin").is(200).differs("upstream header x_user_id", "[\"admin\"]", null, "servers that turn headers into variables take it for X-User-Id"),
            get("/prefix/x").with("X-Forwarded-Proto", "https").with("X-Forwarded-Host", "shop.example").is(200)
                .differs("upstream header x-forwarded-proto", "[\"https,https\"]", "[\"https\"]", FIRST)
                .differs("upstream header x-forwarded-host", "[\"shop.example,shop.example\"]", "[\"shop.example\"]", FIRST),
            get("/prefix/x").with("Keep-Alive", "timeout=5").with("Proxy-Authorization", "Basic x").with("TE", "trailers").is(200));
    }

    private static Ask refused(String path) {
        return get(path).is(200).refused(AMBIGUOUS);
    }
}
