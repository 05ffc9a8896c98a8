-- The step of a trace in which the order was placed, as W3C's traceparent; none of orders from before.
-- Only where it is not there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'traceparent');
SET @change = IF(@there = 0, 'ALTER TABLE orders ADD COLUMN traceparent VARCHAR(55)', 'DO 0');
PREPARE change_orders FROM @change;
EXECUTE change_orders;
DEALLOCATE PREPARE change_orders;
