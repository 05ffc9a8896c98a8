-- Reverts spring-to-tradepost.sql: copies orders placed and cancelled since, and the stock of each SKU, into the Spring
-- system's tables, in one transaction. Run it with our inventory and order stopped, and no order pending.
--
--   mysql --host=... --user=... --password=... < docs/data/tradepost-to-spring.sql
--
-- Orders are matched by number. Rows that were not copied are unchanged. A second run changes nothing.

SET NAMES utf8mb4 COLLATE utf8mb4_bin;
-- where the temporary tables are
USE orders;

-- compares numbers in one case, for any collation of Spring's tables
CREATE TEMPORARY TABLE known (number VARCHAR(255) PRIMARY KEY) COLLATE utf8mb4_bin AS
  SELECT DISTINCT LOWER(order_number) AS number FROM order_service.t_orders WHERE order_number IS NOT NULL;
CREATE TEMPORARY TABLE cancelled (id BIGINT PRIMARY KEY) AS
  SELECT t.id FROM order_service.t_orders t JOIN orders.orders o ON CONVERT(LOWER(t.order_number) USING utf8mb4) COLLATE utf8mb4_bin = o.order_number
  WHERE o.status = 'CANCELLED' AND t.id = o.id;
CREATE TEMPORARY TABLE placed (id BIGINT PRIMARY KEY, order_number CHAR(36)) COLLATE utf8mb4_bin AS
  SELECT o.id, o.order_number FROM orders.orders o LEFT JOIN known k ON k.number = o.order_number WHERE o.status = 'PLACED' AND k.number IS NULL;

START TRANSACTION;

DELETE l FROM order_service.t_order_line_items l JOIN cancelled c ON c.id = l.order_id;
DELETE t FROM order_service.t_orders t JOIN cancelled c ON c.id = t.id;
INSERT INTO order_service.t_orders (id, order_number) SELECT id, order_number FROM placed;
INSERT INTO order_service.t_order_line_items (id, price, quantity, sku_code, order_id)
  SELECT l.id, l.price, l.quantity, l.sku_code, l.order_id FROM orders.order_lines l JOIN placed p ON p.id = l.order_id;

-- one row per SKU
DELETE FROM inventory_service.t_inventory;
INSERT INTO inventory_service.t_inventory (quantity, sku_code) SELECT quantity, sku_code FROM inventory.stock WHERE removed = FALSE;

COMMIT;
