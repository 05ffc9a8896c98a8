// Does the same as `kafka-consumer-groups --reset-offsets --to-datetime`, for a Kafka without its tools: sets a group
// without members to the first record of each partition that is not older than a time.
// usage: java -cp 'JARS/*' Rewind.java BROKERS GROUP MILLISECONDS TOPIC...
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import java.util.List;

public class Rewind {
    public static void main(String[] args) throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            var at = new HashMap<TopicPartition, OffsetSpec>();
            var end = new HashMap<TopicPartition, OffsetSpec>();
            for (var topic : admin.describeTopics(List.of(args).subList(3, args.length)).allTopicNames().get().values()) {
                for (var partition : topic.partitions()) {
                    var one = new TopicPartition(topic.name(), partition.partition());
                    at.put(one, OffsetSpec.forTimestamp(Long.parseLong(args[2])));
                    end.put(one, OffsetSpec.latest());
                }
            }
            var ends = admin.listOffsets(end).all().get();
            var to = new HashMap<TopicPartition, OffsetAndMetadata>();
            // -1: no record is that recent
            admin.listOffsets(at).all().get().forEach((one, found) ->
                to.put(one, new OffsetAndMetadata(found.offset() < 0 ? ends.get(one).offset() : found.offset())));
            var before = admin.listConsumerGroupOffsets(args[1]).partitionsToOffsetAndMetadata().get();
            admin.alterConsumerGroupOffsets(args[1], to).all().get();
            to.forEach((one, offset) -> System.out.println(one + ": " + (before.get(one) == null ? "-" : before.get(one).offset()) + " -> " + offset.offset()));
        }
    }
}
