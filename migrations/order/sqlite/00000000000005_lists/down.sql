DROP INDEX orders_customer_listed;
DROP INDEX orders_listed;
