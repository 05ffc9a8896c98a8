package shop.interop;

import java.time.Duration;
import java.time.Instant;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Predicate;

/** Prints one line per check; the exit code reports whether all passed. */
public final class Checks {
    /** Time limit of operations that normally take seconds. */
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    private final String part;
    private int passed;
    private int failed;

    public Checks(String part) {
        this.part = part;
    }

    /** Checks that both are equal. */
    public boolean same(String what, Object expected, Object actual) {
        return that(what, Objects.equals(expected, actual), "expected " + expected + " got " + actual);
    }

    /** Checks a condition; {@code otherwise} is the actual value in the message. */
    public boolean that(String what, boolean so, String otherwise) {
        if (so) {
            passed++;
            System.out.println("ok " + part + ": " + what);
        } else {
            failed++;
            System.out.println("FAILED: " + part + ": " + what + ": " + otherwise);
        }
        return so;
    }

    /** Polls until the condition holds or the time limit ends; returns the last value. */
    public <T> T becomes(String what, Callable<T> look, Predicate<T> good) {
        Instant until = Instant.now().plus(PATIENCE);
        Object last;
        do {
            try {
                T seen = look.call();
                if (good.test(seen)) {
                    that(what, true, "");
                    return seen;
                }
                last = seen;
            } catch (Exception cause) {
                last = cause;
            }
            pause();
        } while (Instant.now().isBefore(until));
        that(what, false, "expected within " + PATIENCE.toSeconds() + " s, got at last " + last);
        return null;
    }

    private static void pause() {
        try {
            Thread.sleep(100);
        } catch (InterruptedException cause) {
            throw new IllegalStateException(cause);
        }
    }

    /** Runs the part, prints the result, and exits. An exception is a failure. */
    public void run(Part work) {
        try {
            work.run(this);
        } catch (Exception cause) {
            cause.printStackTrace();
            that("runs to its end", false, cause.toString());
        }
        System.out.println(part + ": " + passed + " checks passed, " + failed + " failed");
        System.exit(failed == 0 && passed > 0 ? 0 : 1);
    }

    /** The body of a part. */
    public interface Part {
        void run(Checks checks) throws Exception;
    }
}
