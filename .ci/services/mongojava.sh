#!/usr/bin/env bash
# mongo-java-server, which implements MongoDB's wire protocol in memory, from Maven's registry, on loopback. It reports
# version 5.0. With TLS=DIR it accepts only TLS, with DIR/server.pem (certificate) and DIR/server.key (PKCS#8).
# usage: mongojava.sh install|start|stop|kill|status   (needs mvn, javac 17)
# environment: STATE_DIR (log, process id), CACHE_DIR (the jars), MONGO_PORT, TLS
set -euo pipefail
name=mongojava version=1.47.0
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}
port=${MONGO_PORT:-27217}
log=$state/$name.log jars=$cache/mongo-java-server-$version
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() {
  [[ -f $jars/.complete ]] && return
  command -v mvn >/dev/null && command -v javac >/dev/null || apt_install default-jdk-headless maven
  local work
  work=$(mktemp -d)
  mkdir -p "$jars"
  cat >"$work/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tradepost.ci</groupId><artifactId>mongo</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>de.bwaldvogel</groupId><artifactId>mongo-java-server</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.16</version></dependency>
</dependencies></project>
X
  again mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
  cat >"$work/Serve.java" <<'X'
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;

public class Serve {
    /** Drivers of today ask for wire version 9 and up; 13 is that of MongoDB 5.0. */
    static class Five implements MongoVersion {
        public List<Integer> getVersionArray() { return List.of(5, 0, 0); }
        public int getWireVersion() { return 13; }
    }

    public static void main(String[] args) throws Exception {
        MemoryBackend backend = new MemoryBackend();
        backend.version(new Five());
        MongoServer server = new MongoServer(backend);
        if (args.length > 1) {
            String pem = Files.readString(Path.of(args[1], "server.key")).replaceAll("-----[A-Z ]*-----|\\s", "");
            PrivateKey key = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
            try (FileInputStream in = new FileInputStream(Path.of(args[1], "server.pem").toFile())) {
                server.enableSsl(key, null, (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in));
            }
        }
        server.bind("127.0.0.1", Integer.parseInt(args[0]));
        Thread.currentThread().join();
    }
}
X
  javac -cp "$jars/*" -d "$jars/classes" "$work/Serve.java"
  rm -rf "$work"
  touch "$jars/.complete"
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  launch java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*:$jars/classes" Serve "$port" ${TLS:+"$TLS"}
  until_it "mongodb://127.0.0.1:$port" listens
}

"command_${1:-usage}"
