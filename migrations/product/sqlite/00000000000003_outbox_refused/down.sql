DROP TABLE outbox_refused;
