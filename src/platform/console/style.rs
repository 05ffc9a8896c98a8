//! How the console looks: light or dark as the reader has it, and one colour for each that takes part.

use crate::platform::html::escape;

/// Colours of bars; who takes part has one by its name.
const COLOURS: u32 = 8;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #566170; --paper: #fff; --ground: #eef1f5; --line: #d3d9e1; --accent: #1f5fbf; --good: #1b6e3c; --goodground: #e2f4e8; --bad: #a5161f; --badground: #fdecec;
  --c0: #3b6fd4; --c1: #b4550a; --c2: #1d7f5f; --c3: #8a3fb5; --c4: #a8365e; --c5: #5d6b16; --c6: #0b7490; --c7: #70563a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #a3aebc; --paper: #1b222c; --ground: #11161d; --line: #3a4552; --accent: #7fb0ff; --good: #8fdcab; --goodground: #17351f; --bad: #ffb3b3; --badground: #4a1d21;
  --c0: #7fa8ff; --c1: #f0a35e; --c2: #63cfa6; --c3: #cf97f0; --c4: #f08fb2; --c5: #c0cf6a; --c6: #5cc6e0; --c7: #d0ae86; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem; background: var(--ground); color: var(--ink); font: .95rem/1.5 system-ui, sans-serif; }
main { max-width: 90rem; margin: 0 auto; display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
p { margin: 0; }
a { color: var(--accent); }
code { font-size: .9em; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
section { padding: 1.1rem; background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; overflow-x: auto; }
form { display: flex; flex-wrap: wrap; gap: .6rem .8rem; align-items: center; }
input[type=search] { min-width: 16rem; padding: .4rem .6rem; font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: .4rem; }
button { padding: .4rem 1rem; font: inherit; font-weight: 600; color: var(--paper); background: var(--accent); border: 0; border-radius: .4rem; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
section > dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem 1rem .4rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-size: .85rem; font-weight: 600; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
time, .number { white-space: nowrap; }
.number { text-align: right; }
.party { display: inline-block; font-size: .8rem; white-space: nowrap; }
.party i { display: inline-block; width: .65rem; height: .65rem; margin-right: .3rem; border-radius: .2rem; vertical-align: baseline; }
.state { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .8rem; font-weight: 600; color: var(--good); background: var(--goodground); white-space: nowrap; }
.bad { color: var(--bad); background: var(--badground); }
.fall { padding: .6rem 0 .8rem; }
.axis, summary { display: grid; grid-template-columns: minmax(18rem, 42%) minmax(14rem, 1fr); min-width: 40rem; }
.axis { padding: 0 1rem .3rem; color: var(--soft); font-size: .78rem; border-bottom: 1px solid var(--line); }
.axis div { position: relative; height: 1.3rem; margin-right: 4rem; }
.axis div span { position: absolute; white-space: nowrap; font-variant-numeric: tabular-nums; }
summary { padding: .12rem 1rem; cursor: pointer; list-style: none; align-items: center; }
summary::-webkit-details-marker { display: none; }
summary:hover, details[open] > summary { background: var(--ground); }
summary:focus-visible { outline-offset: -3px; }
.name { display: block; padding-right: 1rem; overflow-wrap: anywhere; line-height: 1.35; }
.what { font-weight: 600; }
.kind { color: var(--soft); font-size: .78rem; }
.bars { position: relative; align-self: stretch; min-height: 1.3rem; margin: -.12rem 0; margin-right: 4rem; background: linear-gradient(90deg, var(--line) 1px, transparent 1px) 0 0 / 25% 100%; }
.bar { position: absolute; top: calc(50% - .4rem); height: .8rem; min-width: 3px; border-radius: .2rem; }
.bar.failed { box-shadow: 0 0 0 2px var(--bad); }
.took { position: absolute; top: calc(50% - .6rem); padding: 0 .4rem; font-size: .78rem; line-height: 1.2rem; color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; }
details > dl { display: grid; grid-template-columns: minmax(9rem, max-content) minmax(0, 1fr); gap: .1rem 1.25rem; margin: 0; padding: .6rem 1rem .8rem 2rem; background: var(--ground); border-bottom: 1px solid var(--line); }
.c0 { background: var(--c0); } .c1 { background: var(--c1); } .c2 { background: var(--c2); } .c3 { background: var(--c3); }
.c4 { background: var(--c4); } .c5 { background: var(--c5); } .c6 { background: var(--c6); } .c7 { background: var(--c7); }
";

/// A whole page.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} - Tradepost</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// Which colour: the same on every page. The shop's own differ from each other.
pub(super) fn colour(who: &str) -> u32 {
    let name = who.trim_end_matches("-service").trim_start_matches("api-");
    let own = ["gateway", "inventory", "product", "identity", "notification", "registry", "order", "tradepost"];
    let place = own.iter().position(|own| *own == name).and_then(|place| u32::try_from(place).ok());
    place.unwrap_or_else(|| name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % COLOURS)
}

/// Who took part, with the colour of its bars.
pub(super) fn party(who: &str) -> String {
    format!("<span class=\"party\"><i class=\"c{}\"></i>{}</span>", colour(who), escape(who))
}
