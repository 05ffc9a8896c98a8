-- Deliveries of one state, so that pages and totals read no rows of `deliveries`.
-- Only where it is not there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND index_name = 'deliveries_state');
SET @change = IF(@there = 0, 'CREATE INDEX deliveries_state ON deliveries (state, id)', 'DO 0');
PREPARE add_index FROM @change;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
