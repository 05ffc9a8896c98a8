package tradepost;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.PropertySource;

/** Starts like any Spring application, prints the settings named in its arguments, and exits. */
@SpringBootApplication
public class Client {

    public static void main(String[] arguments) {
        try (var context = SpringApplication.run(Client.class, arguments)) {
            ConfigurableEnvironment environment = context.getEnvironment();
            for (PropertySource<?> source : environment.getPropertySources()) {
                if (source.getName().startsWith("configserver:")) {
                    System.out.println("source " + source.getName());
                }
            }
            String keys = environment.getProperty("print");
            for (String key : keys.split(",")) {
                System.out.println(key + "=" + environment.getProperty(key));
            }
        }
    }
}
