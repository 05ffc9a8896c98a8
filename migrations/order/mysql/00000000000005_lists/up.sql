-- Listed orders, all and by customer, so that pages and totals read no rows of `orders`.
-- Only where it is not there: a change of schema commits by itself, so one that was cut short is run again.
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_listed');
SET @change = IF(@there = 0, 'CREATE INDEX orders_listed ON orders (hidden, id, status)', 'DO 0');
PREPARE add_index FROM @change;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
SET @there = (SELECT COUNT(*) FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_customer_listed');
SET @change = IF(@there = 0, 'CREATE INDEX orders_customer_listed ON orders (customer, hidden, id, status)', 'DO 0');
PREPARE add_index FROM @change;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
