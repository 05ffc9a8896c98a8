package tradepost;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.config.server.EnableConfigServer;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.web.SecurityFilterChain;

/** Spring Cloud Config's server with Basic authentication. */
@SpringBootApplication
@EnableConfigServer
public class Server {

    public static void main(String[] arguments) {
        SpringApplication.run(Server.class, arguments);
    }

    /** Spring Security's defaults without CSRF tokens, so that curl can POST. */
    @Bean
    SecurityFilterChain security(HttpSecurity http) throws Exception {
        return http.csrf(csrf -> csrf.disable())
            .authorizeHttpRequests(all -> all.anyRequest().authenticated())
            .httpBasic(Customizer.withDefaults())
            .build();
    }
}
