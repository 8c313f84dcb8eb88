//! Rules of `[evaluate]`, each broken by one job.

use super::{IMAGES, TABLE, TEXT, check};

#[test]
fn metrics_are_known_and_fit_the_target() {
    check(
        TABLE,
        &["evaluate.gates=['acuracy > 0.5']"],
        &["`evaluate.gates` names the unknown metric `acuracy`; did you mean `accuracy`?"],
    );
    check(
        TABLE,
        &["evaluate.metrics=['f1', 'beauty']"],
        &["`evaluate.metrics` names the unknown metric `beauty`; there are `accuracy`"],
    );
    check(TABLE, &["train.early_stop.metric=los"], &["did you mean `loss`?"]);
    check(
        TABLE,
        &["evaluate.gates=['accuracy[a] > 0.5']"],
        &["`accuracy[a]`, but it is not measured for each class"],
    );
    check(
        TABLE,
        &["evaluate.metrics=['f1_weighted', 'f_beta_micro@2', 'lift@0.1[a]', 'top_k_accuracy']"],
        &[],
    );
    check(TABLE, &["evaluate.metrics=['f1_weigthed']"], &["did you mean `f1_weighted`?"]);
    check(TABLE, &["evaluate.metrics=['f_beta']"], &["`f_beta`, which needs β behind an `@`"]);
    check(TABLE, &["evaluate.metrics=['lift@10']"], &["a number from 0.000000001 to 1, got `10`"]);
    check(
        TABLE,
        &["evaluate.gates=['accuracy > 1']"],
        &["no model can meet `accuracy > 1`: accuracy is from 0 to 1"],
    );
    check(TABLE, &["evaluate.gates=['log_loss < 0']"], &["log_loss is at least 0"]);
    check(TABLE, &["evaluate.gates=['accuracy >= 1', 'log_loss <= 0']"], &[]);
    check(TABLE, &["evaluate.gates=['acuracy.lower > 0.5']"], &["unknown metric `acuracy`"]);
    check(TABLE, &["evaluate.focus=acuracy"], &["`evaluate.focus` names the unknown metric `acuracy`"]);
    check(IMAGES, &["evaluate.gates=['r2 > 0.5']"], &["`r2`, which a target of classes does not have"]);
    check(TEXT, &["evaluate.gates=['accuracy > 0.5']"], &["it has `bits_per_byte`, `perplexity` and `loss`"]);
    check(TABLE, &["data.objective=regression", "train.early_stop.metric=f1"], &["a target of numbers"]);
    check(TABLE, &["data.objective=regression", "train.early_stop.metric=rmse"], &[]);
}

#[test]
fn gates_look_at_slices_groups_intervals_and_other_versions() {
    for gate in [
        "accuracy[slice: sex = 'f'] > 0.5",
        "fairness.equalized_odds_difference[sex, race].upper <= 0.1",
        "roc_auc.lower >= 0.9",
    ] {
        check(TABLE, &[&format!("evaluate.gates=[\"{gate}\"]")], &[]);
    }
    let relative = "evaluate.gates=['accuracy >= @champion - 0.002 at 95%']";
    check(TABLE, &[relative, "register.model=income"], &[]);
    check(TABLE, &[relative], &["compares with version `champion` of a model: name the model in [register]"]);
    let numbers = "data.objective=regression";
    check(
        TABLE,
        &[numbers, "evaluate.gates=['fairness.equalized_odds_ratio[sex] > 0.5']"],
        &[
            "`fairness.equalized_odds_ratio`, which a target of numbers does not have; it has `mean_error_difference`",
        ],
    );
    check(
        TABLE,
        &["evaluate.gates=['fairness.mae_ratio[sex] > 1']"],
        &["no model can meet `fairness.mae_ratio[sex] > 1`: fairness.mae_ratio[sex] is from 0 to 1"],
    );
    check(
        TEXT,
        &["evaluate.gates=['perplexity[slice: a = 1] < 9']"],
        &["is about columns, and a text has none"],
    );
}

#[test]
fn slices_groups_and_intervals_are_bounded() {
    check(TABLE, &["evaluate={slices=['sex', 'age >= 60'],sensitive=['sex'],small_below=50}"], &[]);
    check(TABLE, &["evaluate.slices=['sex', '', 'sex']"], &["got one of 0", "names `sex` twice"]);
    let many: Vec<String> = (0..9).map(|column| format!("'c{column}'")).collect();
    check(TABLE, &[&format!("evaluate.sensitive=[{}]", many.join(","))], &["at most 8 entries, got 9"]);
    check(TABLE, &["evaluate.small_below=0"], &["`evaluate.small_below` must be from 1 to 1000000, got 0"]);
    check(
        TABLE,
        &["evaluate.intervals={level=1.0,replicates=10}"],
        &["above 0.5 and below 1", "from 100 to"],
    );
    check(TABLE, &["evaluate.intervals={level=0.9,replicates=5000,seed=3}"], &[]);
    check(TEXT, &["evaluate.sensitive=['sex']"], &["`evaluate.sensitive` is about columns"]);
    check(TEXT, &["evaluate.robustness={}"], &["`evaluate.robustness` is about columns"]);
}

#[test]
fn a_threshold_takes_what_its_goal_needs() {
    for goal in ["{}", "{goal='f_beta',beta=2.0}", "{goal='recall',at_least=0.9}", "{goal='youden'}"] {
        check(TABLE, &[&format!("evaluate.threshold={goal}")], &[]);
    }
    check(
        TABLE,
        &["evaluate.threshold={goal='cost',false_positive=1,false_negative=5,true_positive=-1}"],
        &[],
    );
    check(TABLE, &["evaluate.threshold={goal='cost',false_positive=1}"], &["needs `false_negative`"]);
    check(
        TABLE,
        &["evaluate.threshold={goal='recall',at_least=2.0}"],
        &["at_least` must be from 0 to 1, got 2"],
    );
    check(
        TABLE,
        &["evaluate.threshold={goal='youden',beta=1.0}"],
        &["`evaluate.threshold.beta` does not belong to the goal `youden`, which takes no number"],
    );
    let unsplit = "data.split={train=0.9,validation=0.0,test=0.1}";
    check(
        TABLE,
        &[unsplit, "evaluate.calibration=temperature"],
        &["must be above 0, since `evaluate.calibration` is chosen on that split"],
    );
    check(
        TABLE,
        &["data.objective=regression", "evaluate.threshold={}"],
        &["`evaluate.threshold` is about probabilities of classes, which a target of numbers does not have"],
    );
}

#[test]
fn importance_and_robustness_are_bounded() {
    check(TABLE, &["evaluate.importance={}", "evaluate.robustness={}"], &[]);
    check(
        TABLE,
        &["evaluate.importance={repeats=0,rows=0}"],
        &["repeats` must be from 1", "rows` must be from 1"],
    );
    check(
        TABLE,
        &["evaluate.robustness={noise=[0.1, -1.0],pgd_steps=0}"],
        &["sizes above 0, got -1", "pgd_steps"],
    );
    check(
        TABLE,
        &["evaluate.robustness.tolerated_loss=1.5"],
        &["tolerated_loss` must be from 0 to 1, got 1.5"],
    );
}
