DROP TABLE dead_letters; DROP TABLE cursors; DROP TABLE messages;
