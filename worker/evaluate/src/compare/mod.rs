//! Which of two models is better, and how sure that is: tests of paired predictions
//! (`classes`, `numbers`), the contrast of one metric (`contrast`), and all metrics together
//! (`comparison`). Owns no state. Both models have predicted the same rows in the same order.

mod classes;
mod comparison;
mod contrast;
mod numbers;

pub use classes::{DeLongTest, McNemar, delong_test, mcnemar};
pub use comparison::{Comparison, PairedTests, Side};
pub(crate) use contrast::one_sided;
pub use contrast::{Contrast, NonInferiority, contrast, non_inferiority};
pub use numbers::{PairedT, Wilcoxon, paired_t, wilcoxon};
