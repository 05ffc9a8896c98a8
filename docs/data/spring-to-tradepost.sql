-- Copies orders and stock of the Spring system into Tradepost's databases on the same MySQL or MariaDB server, in one
-- transaction. Run it once, after `tradepost migrate`, while the Spring services write nothing, into databases without
-- rows. If a row already exists, the script fails and writes nothing.
--
--   mysql --host=... --user=... --password=... < docs/data/spring-to-tradepost.sql
--
-- Databases: `order_service` and `inventory_service` are Spring's, `orders`, `inventory` and `notification` ours. If
-- your databases have other names, change them here. If tables or columns differ, change the first three SELECTs.

SET NAMES utf8mb4 COLLATE utf8mb4_bin;
-- where the temporary tables are
USE orders;
SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES');
SET SESSION max_error_count = 100;

-- The Spring system stores no customer of an order. The copied orders get this one: no token has such a subject, so only
-- administrators see them.
SET @customer = 'imported';
SET @now = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED);

-- 1. The rows of Spring's tables.
CREATE TEMPORARY TABLE old_orders (id BIGINT PRIMARY KEY, order_number VARCHAR(255), KEY (order_number)) COLLATE utf8mb4_bin AS
  SELECT id, order_number FROM order_service.t_orders;
CREATE TEMPORARY TABLE old_lines (id BIGINT PRIMARY KEY, order_id BIGINT, sku_code VARCHAR(255), quantity BIGINT, price DECIMAL(38, 2), KEY (order_id)) COLLATE utf8mb4_bin AS
  SELECT id, order_id, TRIM(sku_code) AS sku_code, quantity, price FROM order_service.t_order_line_items;
CREATE TEMPORARY TABLE old_stock (sku_code VARCHAR(255), quantity BIGINT) COLLATE utf8mb4_bin AS
  SELECT TRIM(sku_code) AS sku_code, quantity FROM inventory_service.t_inventory;

-- 2. Rows that cannot be copied, with the reason. Spring accepted invalid orders: quantities below one, SKUs without a
-- name. They stay in Spring's tables and are listed at the end.
CREATE TEMPORARY TABLE left_behind (what VARCHAR(16), id VARCHAR(255), reason VARCHAR(80)) COLLATE utf8mb4_bin;
INSERT INTO left_behind SELECT 'order', id, 'its number is no UUID' FROM old_orders
  WHERE order_number IS NULL OR order_number NOT REGEXP '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$';
CREATE TEMPORARY TABLE doubled COLLATE utf8mb4_bin AS
  SELECT LOWER(order_number) AS number, MIN(id) AS first FROM old_orders GROUP BY LOWER(order_number) HAVING COUNT(*) > 1;
INSERT INTO left_behind SELECT 'order', o.id, 'another order has its number' FROM old_orders o
  JOIN doubled d ON LOWER(o.order_number) = d.number AND o.id <> d.first;
INSERT INTO left_behind SELECT 'order', order_id, 'a line of less than one piece, or without an SKU' FROM old_lines
  WHERE order_id IS NOT NULL AND (quantity IS NULL OR quantity < 1 OR quantity > 2147483647 OR sku_code IS NULL OR CHAR_LENGTH(sku_code) NOT BETWEEN 1 AND 64 OR price < 0)
  GROUP BY order_id;
INSERT INTO left_behind SELECT 'order', o.id, 'it has no lines' FROM old_orders o LEFT JOIN old_lines l ON l.order_id = o.id WHERE l.id IS NULL;
INSERT INTO left_behind SELECT 'order line', l.id, 'its order is not there' FROM old_lines l LEFT JOIN old_orders o ON o.id = l.order_id WHERE o.id IS NULL;
INSERT INTO left_behind SELECT 'stock', COALESCE(sku_code, 'NULL'), 'no SKU' FROM old_stock WHERE sku_code IS NULL OR CHAR_LENGTH(sku_code) NOT BETWEEN 1 AND 64;
INSERT INTO left_behind SELECT 'stock', sku_code, CONCAT('less than nothing is counted as 0: ', SUM(quantity)) FROM old_stock GROUP BY sku_code HAVING SUM(quantity) < 0;

DELETE o FROM old_orders o JOIN left_behind b ON b.what = 'order' AND b.id = CAST(o.id AS CHAR);
DELETE l FROM old_lines l LEFT JOIN old_orders o ON o.id = l.order_id WHERE o.id IS NULL;

-- sold units per SKU, for INV-1
CREATE TEMPORARY TABLE sold (sku_code VARCHAR(64) PRIMARY KEY, pieces BIGINT) COLLATE utf8mb4_bin AS
  SELECT sku_code, SUM(quantity) AS pieces FROM old_lines GROUP BY sku_code;
-- several rows of one SKU, which Spring allows but cannot read, are added up; a negative quantity becomes 0
CREATE TEMPORARY TABLE kept (sku_code VARCHAR(64) PRIMARY KEY, pieces BIGINT) COLLATE utf8mb4_bin AS
  SELECT sku_code, GREATEST(SUM(COALESCE(quantity, 0)), 0) AS pieces FROM old_stock WHERE CHAR_LENGTH(sku_code) BETWEEN 1 AND 64 GROUP BY sku_code;

-- New ids continue after Spring's highest id, including rows that are not copied, so ids do not collide.
SET @change = CONCAT('ALTER TABLE orders.orders AUTO_INCREMENT = ', (SELECT COALESCE(MAX(id), 0) + 1 FROM order_service.t_orders));
PREPARE statement FROM @change; EXECUTE statement; DEALLOCATE PREPARE statement;
SET @change = CONCAT('ALTER TABLE orders.order_lines AUTO_INCREMENT = ', (SELECT COALESCE(MAX(id), 0) + 1 FROM order_service.t_order_line_items));
PREPARE statement FROM @change; EXECUTE statement; DEALLOCATE PREPARE statement;

START TRANSACTION;

-- 3. Orders keep their ids and numbers, so links and bookmarks continue to work. All are PLACED: Spring has no other
-- state. The total is the sum of the lines.
INSERT INTO orders.orders (id, order_number, customer, customer_name, email, status, settle, total, reason, lease_until, created_at, hidden)
  SELECT o.id, LOWER(o.order_number), @customer, 'before Tradepost', NULL, 'PLACED', NULL,
    CAST(COALESCE(SUM(l.price * l.quantity), 0) AS CHAR), NULL, 0, @now, FALSE
  FROM old_orders o JOIN old_lines l ON l.order_id = o.id GROUP BY o.id, o.order_number;
INSERT INTO orders.order_lines (id, order_id, sku_code, quantity, price)
  SELECT id, order_id, sku_code, quantity, CAST(price AS CHAR) FROM old_lines;

-- 4. Stock: the quantity, the sold units, and their sum as received. If an SKU was sold but has no stock row in Spring,
-- its row is marked as removed: it keeps the history and is not visible.
INSERT INTO inventory.stock (sku_code, quantity, held, sold, received, removed)
  SELECT k.sku_code, k.pieces, 0, COALESCE(s.pieces, 0), k.pieces + COALESCE(s.pieces, 0), FALSE FROM kept k LEFT JOIN sold s ON s.sku_code = k.sku_code;
INSERT INTO inventory.stock (sku_code, quantity, held, sold, received, removed)
  SELECT s.sku_code, 0, 0, s.pieces, s.pieces, TRUE FROM sold s LEFT JOIN kept k ON k.sku_code = s.sku_code WHERE k.sku_code IS NULL;

-- 5. A COMMITTED reservation per order (INV-4), so a later cancellation returns the stock.
SET SESSION group_concat_max_len = 16777216;
INSERT INTO inventory.reservations (order_number, state, `lines`, expires_at)
  SELECT LOWER(o.order_number), 'COMMITTED', CONCAT('{', GROUP_CONCAT(CONCAT(JSON_QUOTE(l.sku_code), ':', l.pieces) ORDER BY l.sku_code SEPARATOR ','), '}'), 0
  FROM old_orders o JOIN (SELECT order_id, sku_code, SUM(quantity) AS pieces FROM old_lines GROUP BY order_id, sku_code) l ON l.order_id = o.id
  GROUP BY o.id, o.order_number;

-- 6. The orders count as notified (INV-5): they are in the inbox as read, and no mail is sent.
INSERT INTO notification.notifications (event_id, customer, type, order_number, title, message, created_at, `read`)
  SELECT CONCAT('imported-', LOWER(order_number)), @customer, 'order.placed', LOWER(order_number), 'Order placed', 'An order from before Tradepost.', @now, TRUE FROM old_orders;

COMMIT;

SELECT what, id, reason FROM left_behind ORDER BY what, id;
SELECT (SELECT COUNT(*) FROM orders.orders) AS orders, (SELECT COUNT(*) FROM orders.order_lines) AS order_lines, (SELECT COUNT(*) FROM inventory.stock) AS stock;
