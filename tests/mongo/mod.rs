//! What MongoDB asks for beyond the scenarios, which run on it as they are.
//!
//! Ignored unless asked for: `.ci/mongo.sh` starts a server, names it in `TRADEPOST_TEST_MONGO`, and runs
//! these with `--ignored`.
