DROP TABLE outbox; DROP TABLE products;
