//! `[asset]`: the limits that `admin asset add` gives an asset whose own are not on its command line.

use super::section::Section;

/// `[asset]`. Amounts are in units of the asset, as the command line has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AssetConfig {
    /// The smallest withdrawal.
    pub(crate) min: Option<String>,
    /// The largest withdrawal.
    pub(crate) max: Option<String>,
    /// The most that one account may withdraw on one UTC day.
    pub(crate) daily_max: Option<String>,
}

const AMOUNT: &str = "an amount in units of the asset, as text: \"1\" or \"0.5\"";

impl AssetConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut amount = |key| {
            section.parsed(key, AMOUNT, |text| {
                let digits = text
                    .split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
                (digits && text.matches('.').count() <= 1).then(|| text.to_owned())
            })
        };
        Self { min: amount("min"), max: amount("max"), daily_max: amount("daily_max") }
    }

    pub(super) fn print(&self) -> toml::Table {
        let set = [("min", &self.min), ("max", &self.max), ("daily_max", &self.daily_max)];
        let set = set.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        set.map(|(key, value)| (key.to_owned(), value.into())).collect()
    }
}
