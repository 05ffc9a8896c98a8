-- Deliveries of one state, so that pages and totals read no rows of `deliveries`.
CREATE INDEX deliveries_state ON deliveries (state, id);
