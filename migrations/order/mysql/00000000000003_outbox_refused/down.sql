DROP TABLE IF EXISTS outbox_refused;
