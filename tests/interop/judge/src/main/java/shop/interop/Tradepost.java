package shop.interop;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** A process of the binary under test; its output goes to a file beside its data, and to the screen if it fails. */
public final class Tradepost implements AutoCloseable {
    private static final String READY = "ready on ";

    private final Process process;
    private final Path log;
    private final CountDownLatch ready = new CountDownLatch(1);
    /** Addresses by module of a split shop; "" is the process itself. */
    private final Map<String, String> addresses = new HashMap<>();

    private Tradepost(Process process, Path log) {
        this.process = process;
        this.log = log;
    }

    /** Starts it and waits until it is ready. */
    public static Tradepost start(Path data, Map<String, String> environment, String... arguments) throws IOException, InterruptedException {
        String binary = System.getProperty("tradepost");
        List<String> command = Stream.concat(Stream.of(binary), Stream.of(arguments)).toList();
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().keySet().removeIf(name -> name.startsWith("TRADEPOST__"));
        builder.environment().put("TRADEPOST__DATA__DIR", data.toString());
        builder.environment().put("TRADEPOST__LOG__FORMAT", "human");
        // it exits with this process
        builder.environment().put("TRADEPOST__SERVER__EXIT_ON_STDIN_EOF", "true");
        // do not fail orders because the machine is busy
        builder.environment().put("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "8000");
        builder.environment().put("TRADEPOST__RESILIENCE__CALL_MS", "7000");
        builder.environment().putAll(environment);
        Tradepost started = new Tradepost(builder.start(), Files.createTempFile(data, "process", ".log"));
        Runtime.getRuntime().addShutdownHook(new Thread(started::close));
        new Thread(started::read).start();
        boolean inTime = started.ready.await(120, TimeUnit.SECONDS);
        if (!inTime || started.url() == null) {
            System.out.println(Files.readString(started.log));
            throw new IOException(String.join(" ", command) + " did not get ready; its words are above");
        }
        return started;
    }

    private void read() {
        try (var lines = process.inputReader(); var out = new PrintStream(Files.newOutputStream(log))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                out.println(line);
                int at = line.indexOf(READY);
                if (at < 0) {
                    continue;
                }
                String service = line.substring(0, at).replace("|", "").trim();
                addresses.put(service, line.substring(at + READY.length()).trim());
                if (service.isEmpty()) {
                    ready.countDown();
                }
            }
        } catch (IOException cause) {
            // closed because the process was killed
        } finally {
            ready.countDown();
        }
    }

    /** Its base URL. */
    public String url() {
        return addresses.get("");
    }

    /** The base URL of a module of a split shop. */
    public String url(String module) {
        return addresses.get(module);
    }

    public int port() {
        return java.net.URI.create(url()).getPort();
    }

    /** Kills it with SIGKILL. */
    public void kill() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    /** Sends SIGTERM and waits; returns the exit code. */
    public int stop() throws InterruptedException {
        // only the signal: Process.destroy would also close its standard input
        process.toHandle().destroy();
        if (!process.waitFor(60, TimeUnit.SECONDS)) {
            process.destroyForcibly();
        }
        return process.waitFor();
    }

    @Override
    public void close() {
        try {
            stop();
        } catch (InterruptedException cause) {
            process.destroyForcibly();
        }
    }
}
