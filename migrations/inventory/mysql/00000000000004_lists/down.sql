-- Only where it is there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'stock' AND index_name = 'stock_listed');
SET @change = IF(@there > 0, 'DROP INDEX stock_listed ON stock', 'DO 0');
PREPARE drop_index FROM @change;
EXECUTE drop_index;
DEALLOCATE PREPARE drop_index;
