-- Stock that is not removed, so that pages and totals read no rows of `stock`.
CREATE INDEX stock_listed ON stock (removed, id);
