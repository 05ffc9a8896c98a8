DROP INDEX deliveries_state;
