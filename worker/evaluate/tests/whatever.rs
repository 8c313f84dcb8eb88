//! Whatever comes in, nothing panics: rows of any length and any number, settings of any size.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    CellMetric, MeanMetric, RocAucMetric, RowMetric, RowsMetric,
    calibration::{
        Binning, Isotonic, Platt, Temperature, brier_parts, calibration, fit_isotonic, fit_platt,
        fit_temperature, mended, mended_classes, top_label,
    },
    compare::{contrast, delong_test, mcnemar, non_inferiority, paired_t, wilcoxon},
    cross_validation::{compare_folds, cross_validated, out_of_fold},
    fairness::{
        Constraint, Fairness, Groups, Outcomes, fairness_of_class, fairness_of_classes, fairness_of_numbers,
        group_thresholds, reweighing,
    },
    folds::{
        TimeSeries, group_folds, k_folds, leave_one_group_out, stratified_folds, stratified_group_folds,
        time_series_folds,
    },
    importance::{Attributions, Permuted, path_points, permutation_importance, permuted_rows},
    interval::{
        Bootstrap, Draw, bca_ends, bootstrap, bootstrap_counts, mean_interval, percentile_ends,
        roc_auc_interval, wilson_interval,
    },
    learning_curve::{Learned, learning_curve},
    robustness::{Disturbance, robustness},
    slices::{SliceSettings, column_slices, intersections, measure_slices, number_slices},
    threshold::{Goal, at_threshold, choose_threshold},
    verdict::{Verdict, against},
};
use proptest::prelude::*;

/// Numbers of every kind, those that fit among them.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1.0_f64, 2 => Just(0.5), 1 => any::<f64>(), 1 => Just(0.0), 1 => Just(1.0)]
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![prop::collection::vec(number(), 0..12), prop::collection::vec(0.0..=1.0_f64, 0..12)]
}

fn flags() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 0..12)
}

fn labels() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![9 => 0..4_u32, 1 => any::<u32>()], 0..12)
}

fn settings() -> impl Strategy<Value = Bootstrap> {
    let draw = prop_oneof![Just(Draw::Multinomial), Just(Draw::Poisson)];
    (0..20_u32, prop_oneof![Just(0.9), number()], any::<bool>(), draw, any::<u64>())
        .prop_map(|(resamples, level, bca, draw, seed)| Bootstrap { resamples, level, bca, draw, seed })
}

proptest! {
    #[test]
    fn intervals_and_comparisons(
        a in numbers(),
        b in numbers(),
        flags in flags(),
        cells in labels(),
        settings in settings(),
        counts in prop::collection::vec(any::<u64>(), 0..5),
    ) {
        let share = |counts: &[u64]| Some(*counts.first()? as f64 / *counts.get(1)? as f64);
        let mut metrics: Vec<Box<dyn RowMetric>> = Vec::new();
        let all = MeanMetric::new(&a).map(|metric| metrics.push(Box::new(metric)));
        let all = all.and(MeanMetric::new(&b).map(|metric| metrics.push(Box::new(metric))));
        let all = all.and(RocAucMetric::new(&a, &flags).map(|metric| metrics.push(Box::new(metric))));
        let all = all.and(CellMetric::new(&cells, 4, share).map(|metric| metrics.push(Box::new(metric))));
        let of_rows = |rows: &[u32]| Some(f64::from(*rows.first()?));
        let _ = all.and(RowsMetric::new(a.len(), of_rows).map(|metric| metrics.push(Box::new(metric))));
        let gate = "roc_auc >= @champion - 0.002 at 95%".parse().unwrap();
        for metric in &metrics {
            let _ = bootstrap(metric.as_ref(), Some(&cells), &settings);
            let _ = bootstrap(metric.as_ref(), None, &settings);
            for other in &metrics {
                let _ = contrast("m", true, metric.as_ref(), other.as_ref(), &settings);
                let _ = non_inferiority(metric.as_ref(), other.as_ref(), false, 0.1, &settings);
                let _ = against(&gate, metric.as_ref(), other.as_ref(), &settings);
            }
        }
        let _ = bootstrap_counts(&counts, share, &settings);
        let _ = (mean_interval(&a, 0.9), roc_auc_interval(&a, &flags, 0.9), delong_test(&a, &b, &flags, 0.9));
        let _ = (mcnemar(&flags, &flags), paired_t(&a, &b, 0.9), wilcoxon(&a, &b));
        let left_out: Vec<_> = b.iter().map(|value| (*value, 1.0)).collect();
        let _ = (percentile_ends(&a, settings.level), bca_ends(settings.level, &a, &left_out, settings.level));
        if let [hits, trials, ..] = counts[..] {
            let _ = wilson_interval(hits, trials, settings.level);
        }
        let _ = Verdict::new(&[gate], &BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new());
    }

    #[test]
    fn calibration_and_thresholds(
        told in numbers(),
        happened in flags(),
        truths in labels(),
        bins in 0_usize..8,
        one in number(),
        other in number(),
    ) {
        let rows = told.len().min(happened.len());
        for (told, happened) in [(&told[..], &happened[..]), (&told[..rows], &happened[..rows])] {
            let _ = calibration(told, happened, Binning::Quantile, bins);
            let _ = (calibration(told, happened, Binning::Uniform, bins), brier_parts(told, happened, bins));
            let _ = fit_isotonic(told, happened).map(|fitted| fitted.apply(one));
            let _ = (fit_platt(told, happened), Platt::of_probabilities(told, happened));
            let _ = mended(told, happened, bins, |told| told * one);
            let cost = Goal::Cost { false_positive: one, false_negative: other, true_positive: one, true_negative: 0.0 };
            let goals = [
                cost, Goal::FBeta { beta: one }, Goal::Recall { at_least: one }, Goal::EqualErrorRate,
                Goal::Precision { at_least: one }, Goal::Accuracy, Goal::BalancedAccuracy, Goal::Youden,
            ];
            for goal in goals {
                let _ = choose_threshold(told, happened, goal);
            }
            let _ = at_threshold(told, happened, one);
        }
        for classes in 0..4 {
            let _ = (fit_temperature(&told, &truths, classes), top_label(&told, &truths, classes));
            let temperature = Temperature { temperature: other };
            let _ = mended_classes(&told, &truths, classes, bins, &temperature);
            temperature.apply(&mut told.clone(), classes);
        }
        let _ = Isotonic { scores: told.clone(), probabilities: vec![one] }.apply(other);
    }

    #[test]
    fn fairness_and_slices(
        told in numbers(),
        others in numbers(),
        happened in flags(),
        selected in flags(),
        labels in labels(),
        names in prop::collection::vec("[ab']{0,2}", 0..12),
        settings in settings(),
        small_below in 0_u64..5,
        share in number(),
    ) {
        if let Ok(groups) = Groups::of_column("g", &names) {
            let fairness = Fairness { bootstrap: Some(settings), small_below, ..Fairness::default() };
            let _ = Groups::intersection(&[&groups, &groups]);
            let outcomes = Outcomes { truths: &happened, selected: &selected, scores: Some(&told) };
            let _ = fairness_of_class("c", &outcomes, &groups, &fairness);
            let cut = |flags: &[bool]| flags.iter().cycle().take(names.len()).copied().collect::<Vec<_>>();
            let (happened, selected) = (cut(&happened), cut(&selected));
            let outcomes = Outcomes { truths: &happened, selected: &selected, scores: None };
            let _ = fairness_of_class("c", &outcomes, &groups, &fairness);
            let classes = ["a", "b", "c"].map(str::to_owned);
            let _ = fairness_of_classes(&classes, &labels, &labels, Some(&told), &groups, &fairness);
            let _ = fairness_of_numbers(&told, &others, &groups, &fairness);
            let _ = reweighing(&classes, &labels, &groups).map(|found| found.weight(small_below as u32, u32::MAX));
            for constraint in [Constraint::DemographicParity, Constraint::EqualizedOdds] {
                let _ = group_thresholds(&told, &happened, &groups, constraint, (share, share, small_below));
            }
        }
        let values: Vec<_> = names.iter().map(Some).collect();
        let bins = small_below as usize;
        if let (Ok(one), Ok(other)) = (column_slices("c", &values, bins), number_slices("n", &told, bins)) {
            let both = intersections(&one, &other, bins, 5);
            let slices = SliceSettings { small_below, false_discoveries: share, bootstrap: settings };
            if let Ok(metric) = MeanMetric::new(&others) {
                let _ = measure_slices("m", true, &metric, &[one, other, both].concat(), &slices);
            }
        }
    }

    #[test]
    fn folds_importance_and_the_rest(
        a in numbers(),
        b in numbers(),
        classes in labels(),
        groups in labels(),
        times in prop::collection::vec(any::<i64>(), 0..12),
        folds in prop_oneof![0_usize..6, any::<usize>()],
        gap in prop_oneof![0_usize..6, any::<usize>()],
        seed in any::<Option<u64>>(),
        share in number(),
    ) {
        let rows = classes.len();
        let _ = (k_folds(rows, folds, seed), stratified_folds(&classes, folds, seed));
        let _ = (group_folds(&groups, folds, seed), leave_one_group_out(&groups));
        let _ = stratified_group_folds(&classes, &groups, folds, seed);
        for test_rows in [None, Some(gap), Some(1)] {
            let series = TimeSeries { folds, gap, test_rows, train_rows_max: Some(gap) };
            let _ = time_series_folds(&times, &series);
        }
        let _ = (cross_validated("m", &a, share, 0.9), compare_folds(&a, &b, share, share));
        let _ = out_of_fold(rows, gap, &[(&classes, &a)]);
        let _ = (permuted_rows(rows, 1, 2, 3), path_points(gap));
        let _ = permutation_importance("m", true, share, vec![Permuted { column: "c".into(), values: a.clone() }]);
        if let Ok(mut sums) = Attributions::new(a.len()) {
            let _ = (sums.add(&b, share), sums.add(&a, share));
            let _ = sums.by_column(&vec!["c".to_owned(); b.len()]);
        }
        let learned = a.iter().zip(&classes).map(|(value, rows)| Learned { rows: u64::from(*rows), values: vec![*value] });
        let _ = learning_curve("m", learned.collect());
        let disturbed = a.iter().map(|value| (Disturbance::Noise { deviation: *value }, share)).collect();
        let _ = robustness("m", true, share, disturbed, 0.1);
    }
}
