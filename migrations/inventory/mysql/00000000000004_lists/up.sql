-- Stock that is not removed, so that pages and totals read no rows of `stock`.
-- Only where it is not there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'stock' AND index_name = 'stock_listed');
SET @change = IF(@there = 0, 'CREATE INDEX stock_listed ON stock (removed, id)', 'DO 0');
PREPARE add_index FROM @change;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
