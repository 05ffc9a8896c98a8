package shop.interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A request for both gateways, and the expected differences of their responses. */
final class Ask {
    /** One intended difference: Spring's value, ours, and the reason. */
    record Difference(String spring, String ours, String why) {}

    /** A difference that any request may have, with patterns of its values; null for "absent". */
    record Always(String key, String spring, String ours, String why) {
        boolean covers(String key, String spring, String ours) {
            return this.key.equals(key) && fits(this.spring, spring) && fits(this.ours, ours);
        }

        private static boolean fits(String pattern, String value) {
            return pattern == null ? value == null : value != null && value.matches(pattern);
        }
    }

    final String method;
    final String target;
    final List<String> headers = new ArrayList<>();
    final Map<String, Difference> differences = new HashMap<>();
    String body;
    /** Why we reject (400) a request that Spring forwards; null if we do not. */
    String refused;
    /** The status that both must return; null if equality is enough. */
    Integer status;

    private Ask(String method, String target) {
        this.method = method;
        this.target = target;
    }

    static Ask ask(String method, String target) {
        return new Ask(method, target);
    }

    static Ask get(String target) {
        return ask("GET", target);
    }

    Ask with(String name, String value) {
        headers.add(name);
        headers.add(value);
        return this;
    }

    Ask body(String text) {
        body = text;
        return with("Content-Type", "text/plain");
    }

    Ask is(int status) {
        this.status = status;
        return this;
    }

    Ask refused(String why) {
        refused = why;
        return this;
    }

    /** {@code key} as in the two gateways' outcomes; a null value means "absent". */
    Ask differs(String key, String spring, String ours, String why) {
        differences.put(key, new Difference(spring, ours, why));
        return this;
    }

    @Override
    public String toString() {
        var shown = new StringBuilder(method + " " + target);
        for (int i = 0; i < headers.size(); i += 2) {
            shown.append(", ").append(headers.get(i)).append(": ").append(headers.get(i + 1));
        }
        return body == null ? shown.toString() : shown + ", " + body.length() + " bytes";
    }
}
