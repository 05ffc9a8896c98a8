-- Only where it is there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND index_name = 'deliveries_state');
SET @change = IF(@there > 0, 'DROP INDEX deliveries_state ON deliveries', 'DO 0');
PREPARE drop_index FROM @change;
EXECUTE drop_index;
DEALLOCATE PREPARE drop_index;
