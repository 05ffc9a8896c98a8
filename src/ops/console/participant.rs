//! A module or service of a trace, with the colour of its bars.

/// Number of colours: `c0`, `c1` and so on in `style.css`.
const COLOURS: u32 = 8;

pub(super) struct Participant<'a> {
    pub(super) name: &'a str,
    /// The same on every page.
    pub(super) colour: u32,
}

impl<'a> Participant<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        Self { name, colour: colour(name) }
    }
}

/// The shop's own modules have distinct colours.
fn colour(participant: &str) -> u32 {
    let name = participant.trim_end_matches("-service").trim_start_matches("api-");
    let own = ["gateway", "inventory", "product", "identity", "notification", "registry", "order", "tradepost"];
    let index = own.iter().position(|own| *own == name).and_then(|index| u32::try_from(index).ok());
    index.unwrap_or_else(|| name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % COLOURS)
}
