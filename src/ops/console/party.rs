//! A module or service that took part in a trace, with the colour of its bars.

/// How many colours there are: `c0`, `c1` and so on in `style.css`.
const COLOURS: u32 = 8;

/// A participant as the pages show it.
pub(super) struct Party<'a> {
    pub(super) name: &'a str,
    /// The number of its colour, the same on every page.
    pub(super) colour: u32,
}

impl<'a> Party<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        Self { name, colour: colour(name) }
    }
}

/// The shop's own modules differ from each other.
fn colour(who: &str) -> u32 {
    let name = who.trim_end_matches("-service").trim_start_matches("api-");
    let own = ["gateway", "inventory", "product", "identity", "notification", "registry", "order", "tradepost"];
    let place = own.iter().position(|own| *own == name).and_then(|place| u32::try_from(place).ok());
    place.unwrap_or_else(|| name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % COLOURS)
}
