-- The step of a trace in which the order was placed, as W3C's traceparent; none of orders from before.
ALTER TABLE orders ADD COLUMN traceparent TEXT;
