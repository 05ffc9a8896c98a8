//! A client's request: applications, profiles and a label.

use crate::kernel::problem::Problem;

/// Lowest precedence first: properties override YAML in the same folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "properties"];
const MAX_NAMES: usize = 20;
const MAX_NAME_LEN: usize = 200;

#[derive(Debug, Clone)]
pub(super) struct ConfigRequest {
    pub(super) name: String,
    pub(super) profiles: Vec<String>,
    pub(super) label: Option<String>,
    /// The client's own token for Vault.
    #[cfg(feature = "vault")]
    pub(super) token: Option<crate::kernel::secret::Secret>,
}

impl ConfigRequest {
    /// From path segments, in which `(_)` stands for a slash. Rejects names that could lead out of the files.
    pub(super) fn new(name: &str, profiles: &str, label: Option<&str>) -> Result<Self, Problem> {
        let with_slashes = |text: &str| text.replace("(_)", "/");
        let request = Self {
            name: with_slashes(name),
            profiles: split_list(profiles).map(str::to_string).collect(),
            label: label.map(with_slashes).filter(|label| !label.is_empty()),
            #[cfg(feature = "vault")]
            token: None,
        };
        check_path("name", &request.name)?;
        check_path("profiles", profiles)?;
        if profiles.contains('/') {
            return Err(Problem::invalid_field("profiles", "a profile has no slash"));
        }
        request.label.as_deref().map_or(Ok(()), |label| check_path("label", label))?;
        for (field, count) in [("name", split_list(&request.name).count()), ("profiles", request.profiles.len())] {
            if count > MAX_NAMES {
                return Err(Problem::invalid_field(field, format!("{count} by comma; {MAX_NAMES} at most")));
            }
        }
        Ok(request)
    }

    /// The comma-separated applications.
    #[cfg(feature = "vault")]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        split_list(&self.name)
    }

    /// Every file that may apply, with its folder, lowest precedence first: a profile overrides no profile, a later
    /// folder an earlier one, the application's own file the shared one.
    pub(super) fn candidate_files(&self, folders: &[String]) -> Vec<(String, String)> {
        let mut names: Vec<&str> = if self.name.starts_with("application") { vec![] } else { vec!["application"] };
        names.extend(split_list(&self.name));
        let mut files = Vec::new();
        for profile in std::iter::once(None).chain(self.profiles.iter().map(Some)) {
            let suffix = profile.map(|profile| format!("-{profile}")).unwrap_or_default();
            for folder in folders {
                for name in &names {
                    files.extend(EXTENSIONS.map(|extension| (folder.clone(), format!("{folder}{name}{suffix}.{extension}"))));
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|(_, path)| seen.insert(path.clone()));
        files
    }
}

fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Accepts only plain paths below the folder.
pub(super) fn check_path(field: &'static str, text: &str) -> Result<(), Problem> {
    let is_special = |c: char| c.is_control() || matches!(c, '\\' | '#' | '?' | '*' | '{' | '}' | ':');
    let is_forbidden = |part: &str| matches!(part, "." | "..") || part.contains("..") || part.eq_ignore_ascii_case(".git");
    if text.is_empty() || text.len() > MAX_NAME_LEN {
        return Err(Problem::invalid_field(field, format!("expected 1 to {MAX_NAME_LEN} characters")));
    }
    if text.starts_with(['/', '-']) || text.contains("//") || text.contains(is_special) || text.split('/').any(is_forbidden) {
        return Err(Problem::invalid_field(field, "is no plain name"));
    }
    Ok(())
}
