DROP TABLE guesses;
DROP TABLE codes;
DROP TABLE sessions;
