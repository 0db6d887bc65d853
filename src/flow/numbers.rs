//! Which flow a number leads to.

use std::collections::HashMap;
use std::sync::Arc;

use super::run::Flows;
use super::script::{ANY_NUMBER, Flow};

/// Flows by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    flows: HashMap<String, Arc<Flow>>,
}

impl Numbers {
    /// All numbers of these flows; of two flows with the same number it is the first's.
    pub fn of(flows: impl IntoIterator<Item = Arc<Flow>>) -> Self {
        let mut numbers = Self::default();
        for flow in flows {
            for number in &flow.numbers {
                let place = numbers.flows.entry(number.clone());
                place.or_insert_with(|| Arc::clone(&flow));
            }
        }
        numbers
    }

    /// How many numbers lead anywhere.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

/// The flow of exactly this number, else that of [`ANY_NUMBER`].
impl Flows for Numbers {
    fn find(&self, number: &str) -> Option<Arc<Flow>> {
        let found = self.flows.get(number);
        found.or_else(|| self.flows.get(ANY_NUMBER)).cloned()
    }
}
