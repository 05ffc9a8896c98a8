//! What can be said without a server; the rest is in `tests/mysql/`.

use super::connections::Trouble;
use diesel::result::{DatabaseErrorKind, Error};

#[test]
fn the_servers_words_say_what_a_transaction_comes_to() {
    for (words, trouble) in [
        ("Deadlock found when trying to get lock; try restarting transaction", Some(Trouble::Conflict)),
        ("Lock wait timeout exceeded; try restarting transaction", Some(Trouble::Conflict)),
        ("Record has changed since last read in table 'stock'", Some(Trouble::Conflict)),
        ("Input/output error: Connection refused (os error 111)", Some(Trouble::Lost)),
        ("Driver error: `Connection to the server is closed.'", Some(Trouble::Lost)),
        ("Server shutdown in progress", Some(Trouble::Lost)),
        ("The MySQL server is running with the --read-only option so it cannot execute this statement", Some(Trouble::Lost)),
        ("Query execution was interrupted, maximum statement execution time exceeded", Some(Trouble::Stopped)),
        ("Duplicate entry 'a' for key 'stock_sku'", None),
    ] {
        let error = Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(words.to_string()));
        assert_eq!(Trouble::of(&error), trouble, "{words}");
    }
    assert_eq!(Trouble::of(&Error::NotFound), None);
}
