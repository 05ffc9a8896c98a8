-- Listed orders, all and by customer, so that pages and totals read no rows of `orders`.
-- The condition is the one of modules/order/store/sql/list.rs, word for word: otherwise SQLite does not use the index.
CREATE INDEX orders_listed ON orders (id) WHERE status IN ('PLACED', 'CANCELLED') AND hidden = 0;
CREATE INDEX orders_customer_listed ON orders (customer, id) WHERE status IN ('PLACED', 'CANCELLED') AND hidden = 0;
