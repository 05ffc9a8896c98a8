//! Processes of one consumer group join, die and leave while events arrive: no event is lost, and each is applied once,
//! in order per subject. `.ci/kafka.sh` runs this.

use super::kafka::client;
use super::kafka_restarts::{Writer, applied, assert_notified_once_in_order};
use super::sql::Sql;
use crate::support::process::Process;
use crate::support::{on_system, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::path::Path;
use std::time::Duration;

const LEAST_EVENTS: usize = 6_000;

/// Waits until the group is stable with `n` members.
async fn members(group: &str, n: usize) {
    let consumer: BaseConsumer = client().create().unwrap();
    wait_until(&format!("{group} has {n} stable members"), || {
        let list = consumer.fetch_group_list(Some(group), Duration::from_secs(10)).map_err(|cause| cause.to_string())?;
        let seen = list.groups().first().map(|group| (group.state().to_string(), group.members().len()));
        if seen == Some(("Stable".into(), n)) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// Waits until 200 more events are applied, so that the last membership change happened under load.
async fn wait_for_more_applied(data: &Path) {
    let count = || Sql::open(data, "notification").value("count(*)", "inbox").parse::<usize>().unwrap();
    let before = count();
    wait_until("more events are applied", || if count() > before + 200 { Ok(()) } else { Err(count().to_string()) }).await;
}

#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn group_members_join_die_and_leave_under_load_without_loss() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let bus = [
            ("TRADEPOST__BUS__URL", url.as_str()),
            ("TRADEPOST__BUS__PREFIX", &prefix),
            ("TRADEPOST__BUS__PARTITIONS", "6"),
            ("TRADEPOST__LOG__LEVEL", "error,rdkafka=off,librdkafka=off"),
        ];
        let rest = [&bus[..], &[("TRADEPOST__SERVER__MODULES", "identity,product,inventory,order")]].concat();
        let rest = Process::start(data.path(), &rest);
        let issuer = format!("{}/realms/spring-cloud-microservices-realm", rest.url);
        let member =
            [&bus[..], &[("TRADEPOST__SERVER__MODULES", "notification"), ("TRADEPOST__IDENTITY__ISSUER", issuer.as_str())]].concat();
        let start = || Process::start(data.path(), &member);
        let (dies, goes) = (start(), start());
        let group = format!("{prefix}notification");
        members(&group, 2).await;

        let writer = Writer::start(data.path(), LEAST_EVENTS);
        wait_for_more_applied(data.path()).await;
        let stays = start();
        members(&group, 3).await;
        wait_for_more_applied(data.path()).await;
        dies.kill();
        members(&group, 2).await;
        wait_for_more_applied(data.path()).await;
        assert_eq!(goes.terminate(), Some(0));
        members(&group, 1).await;

        let events = writer.end();
        applied(data.path(), events).await;
        assert_notified_once_in_order(data.path(), events);
        assert_eq!(stays.terminate(), Some(0));
        rest.terminate();
    });
}
