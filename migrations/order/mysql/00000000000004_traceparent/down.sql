SET @there = (SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'traceparent');
SET @change = IF(@there = 1, 'ALTER TABLE orders DROP COLUMN traceparent', 'DO 0');
PREPARE change_orders FROM @change;
EXECUTE change_orders;
DEALLOCATE PREPARE change_orders;
