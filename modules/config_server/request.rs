//! What a client asks for: applications, profiles and a label.

use crate::kernel::problem::Problem;

/// Weakest first: properties win over YAML beside them.
const ENDINGS: [&str; 3] = ["yaml", "yml", "properties"];
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 200;

/// Whose settings are asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) profiles: Vec<String>,
    pub(super) label: Option<String>,
    /// The client's own token for Vault.
    #[cfg(feature = "vault")]
    pub(super) token: Option<crate::kernel::secret::Secret>,
}

impl Wanted {
    /// From a path's parts, `(_)` in the place of a slash. What could lead out of the files is refused.
    pub(super) fn new(name: &str, profiles: &str, label: Option<&str>) -> Result<Self, Problem> {
        let slashed = |text: &str| text.replace("(_)", "/");
        let wanted = Self {
            name: slashed(name),
            profiles: listed(profiles).map(str::to_string).collect(),
            label: label.map(slashed).filter(|label| !label.is_empty()),
            #[cfg(feature = "vault")]
            token: None,
        };
        fits("name", &wanted.name)?;
        fits("profiles", profiles)?;
        if profiles.contains('/') {
            return Err(Problem::field("profiles", "a profile has no slash"));
        }
        wanted.label.as_deref().map_or(Ok(()), |label| fits("label", label))?;
        for (field, count) in [("name", listed(&wanted.name).count()), ("profiles", wanted.profiles.len())] {
            if count > MOST_NAMES {
                return Err(Problem::field(field, format!("{count} by comma; {MOST_NAMES} at most")));
            }
        }
        Ok(wanted)
    }

    /// The applications, where there are several by comma.
    #[cfg(feature = "vault")]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        listed(&self.name)
    }

    /// Every file that may count, the weakest first: what is for a profile wins over what is not, a later
    /// folder over an earlier one, the application's own file over the shared one.
    pub(super) fn files(&self, folders: &[String]) -> Vec<(String, String)> {
        let mut names: Vec<&str> = if self.name.starts_with("application") { vec![] } else { vec!["application"] };
        names.extend(listed(&self.name));
        let mut files = Vec::new();
        for profile in std::iter::once(None).chain(self.profiles.iter().map(Some)) {
            let suffix = profile.map(|profile| format!("-{profile}")).unwrap_or_default();
            for folder in folders {
                for name in &names {
                    files.extend(ENDINGS.map(|ending| (folder.clone(), format!("{folder}{name}{suffix}.{ending}"))));
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|(_, path)| seen.insert(path.clone()));
        files
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Nothing but names below the folder.
pub(super) fn fits(field: &'static str, text: &str) -> Result<(), Problem> {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | '#' | '?' | '*' | '{' | '}' | ':');
    let steps = |part: &str| matches!(part, "." | "..") || part.contains("..") || part.eq_ignore_ascii_case(".git");
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(Problem::field(field, format!("expected 1 to {LONGEST_NAME} characters")));
    }
    if text.starts_with(['/', '-']) || text.contains("//") || text.contains(odd) || text.split('/').any(steps) {
        return Err(Problem::field(field, "is no plain name"));
    }
    Ok(())
}
