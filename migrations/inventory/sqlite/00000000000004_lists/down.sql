DROP INDEX stock_listed;
