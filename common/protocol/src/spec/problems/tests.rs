//! Every rule, through one `check`.

mod evaluate;

use std::path::Path;

use crate::spec::JobFile;

const TABLE: &str = r#"
name = "income"
[data]
target = "income"

[data.csv]
path = "income.csv"
[model.mlp]
[train]
batch_size = 128
epochs = 3
learning_rate = 0.01
"#;

const IMAGES: &str = r#"
name = "digits"
[data]
target = "label"
objective = "classification"
shape = [1, 28, 28]

[data.parquet]
path = "digits.parquet"
[model.cnn]
[train]
batch_size = 128
epochs = 3
learning_rate = 0.01
"#;

const TEXT: &str = r#"
name = "words"
[data.text]
path = "words.txt"
[model.gpt]
[train]
batch_size = 32
steps = 100
learning_rate = 0.01
"#;

/// Reads `job` with `settings`, each `key=value`, and expects one mistake for each of `expected`,
/// which is a part of its message; none if there are none.
#[track_caller]
fn check(job: &str, settings: &[&str], expected: &[&str]) {
    let overrides: Vec<(String, String)> = settings
        .iter()
        .filter_map(|setting| setting.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mistakes = match JobFile::parse(job, Path::new("/jobs/job.toml"), &overrides) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.mistakes.iter().map(|mistake| mistake.message.clone()).collect(),
    };
    let told = |part: &&str| mistakes.iter().any(|mistake| mistake.contains(*part));
    let fits = expected.iter().all(told) && mistakes.len() == expected.len();
    assert!(fits, "{settings:?}\nexpected {expected:#?}\n     got {mistakes:#?}");
}

#[test]
fn jobs_without_a_mistake_have_no_problem() {
    for job in [TABLE, IMAGES, TEXT] {
        check(job, &[], &[]);
    }
    let all = [
        "train.optimizer={kind='sgd',momentum=0.9,nesterov=true,weight_decay=0.01}",
        "train.schedule={kind='step',gamma=0.5,every_steps=10,warmup_steps=5}",
        "train.early_stop={metric='f1[>50K]'}",
        "train.clip_norm=1",
        "workers={min=2,max=4}",
        "evaluate.gates=['accuracy >= 0.8', 'precision[a] > 0.1', 'f1[<=50K] > 0.5', 'loss < 3']",
        "register={model='income',alias='best'}",
    ];
    check(TABLE, &all, &[]);
}

#[test]
fn a_job_has_a_name() {
    for name in ["Income", "-a", "a b", "ä", "", &"a".repeat(43)] {
        check(TABLE, &[&format!("name=\"{name}\"")], &["`name` must be 1 to 42"]);
    }
    check(TABLE, &[&format!("name={}", "a".repeat(42))], &[]);
}

#[test]
fn data_come_from_one_source() {
    check(TABLE, &["data.csv="], &["names no source"]);
    check(TABLE, &["data.text.path=a"], &["must name one source, got `[data.csv]` and `[data.text]`"]);
    check(TABLE, &["data.csv.path=\"\""], &["must name a file"]);
    check(TABLE, &["data.target=\"\""], &["must name the column to predict"]);
    check(TABLE, &["data.target="], &["`data.target` must name the column to predict"]);
    check(TEXT, &["data.target=y"], &["`data.target` is about columns, and a text has none"]);
    for delimiter in ["a", "7", "\\n", "\\\"", "ä", "."] {
        check(TABLE, &[&format!("data.csv.delimiter=\"{delimiter}\"")], &["`data.csv.delimiter`"]);
    }
    check(TABLE, &["data.csv.delimiter=\"\\t\""], &[]);
    check(TABLE, &["data.csv.delimiter=;"], &[]);
}

#[test]
fn a_source_says_where_rows_are_and_holds_no_secret() {
    let postgres = |address: &str| format!("data.sql={{postgres='{address}',query='SELECT 1 ORDER BY 1'}}");
    let check_sql = |setting: &str, expected: &[&str]| check(TABLE, &["data.csv=", setting], expected);
    check_sql(&postgres("postgres://user@host/db"), &[]);
    check_sql(&postgres("postgres://user:secret@host/db"), &["must not hold a password"]);
    check_sql(&postgres("host=a password=b"), &["must be an address", "must not hold a password"]);
    check_sql("data.sql={query='SELECT 1 ORDER BY 1'}", &["must name one database"]);
    check_sql("data.sql={sqlite='a.db',query='SELECT 1'}", &["must say `ORDER BY`"]);
    check_sql(
        "data.sql={sqlite='a.db',query='SELECT 1 order  by 1',password_env='A',password_file='b'}",
        &["keep one"],
    );
    let check_http = |setting: &str, expected: &[&str]| check(TABLE, &["data.csv=", setting], expected);
    check_http("data.http={url='https://host/rows',pages={by='cursor',next='/next'}}", &[]);
    check_http("data.http={url='ftp://host'}", &["must begin with `https://`"]);
    check_http("data.http={url='https://user:secret@host/rows'}", &["must not hold a user or a password"]);
    check_http("data.http={url='https://host',rows='items'}", &["must be a JSON pointer"]);
    check_http(
        "data.http={url='https://host',pages={by='cursor'}}",
        &["`data.http.pages.next` must be given"],
    );
    check_http("data.http={url='https://host',requests_per_second=0}", &["must be above 0"]);
    check(IMAGES, &["data.parquet=", "data.images.path=pets"], &[]);
    check(
        IMAGES,
        &["data.parquet=", "data.images.path=pets", "data.shape=[2,28,28]"],
        &["[1, height, width]"],
    );
    check(IMAGES, &["data.parquet=", "data.images.path='pets/*'"], &["must name a folder"]);
}

#[test]
fn steps_say_what_they_need_and_each_is_named_with_its_place() {
    let steps = |steps: &str, expected: &[&str]| check(TABLE, &[&format!("data.clean=[{steps}]")], expected);
    steps("{trim={}},{filter='age > 1'},{derive={b='a+1'}},{drop_duplicates={}}", &[]);
    steps("{impute={columns=['a'],with='mean'}},{outliers={columns=['a'],by='iqr',then='clip'}}", &[]);
    steps("{filter=''}", &["`data.clean[0].filter` must not be empty"]);
    steps(
        "{trim={}},{impute={columns=['a'],with='constant'}}",
        &["`data.clean[1].impute.value` must be given"],
    );
    steps("{impute={columns=['a'],with='mean',value='1'}}", &["and for nothing else"]);
    steps("{impute={columns=['a'],with='meen'}}", &["`data.clean[0].impute.with` must be"]);
    steps("{outliers={columns=['a'],by='quantile',limit=0.7,then='drop'}}", &["above 0 and below 0.5"]);
    steps("{drop_near_duplicates={column='a',similarity=2}}", &["above 0 and at most 1"]);
    steps("{fold_rare={columns=['a'],below=1}}", &["above 0 and below 1"]);
    steps("{trim={},filter='a'}", &["must be one of its kinds, got `trim` and `filter`"]);
    steps("{trimm={}}", &["did you mean `trim`?"]);
    steps("{}", &["`data.clean[0]` names nothing: expected `trim`"]);
    check(TEXT, &["data.clean=[{trim={}}]"], &["`data.clean` is about columns"]);
}

#[test]
fn an_expectation_can_be_met_and_puts_only_rows_aside() {
    let expect = |item: &str, expected: &[&str]| check(TABLE, &[&format!("data.expect=[{item}]")], expected);
    expect("{not_be_null={column='a',then='quarantine',mostly=0.9}}", &[]);
    expect("{column_mean_to_be_between={column='a',min=1,then='warn'}}", &[]);
    expect("{column_mean_to_be_between={column='a',min=1,then='quarantine'}}", &["about no single row"]);
    expect("{be_between={column='a'}}", &["must have `min`, `max` or both"]);
    expect("{be_between={column='a',min=2,max=1}}", &["must not be above `max`"]);
    expect("{be_unique={column='a',mostly=0}}", &["above 0 and at most 1"]);
}

#[test]
fn columns_do_not_contradict_each_other() {
    check(TABLE, &["data.features=[]"], &["must name a column, got none"]);
    check(TABLE, &["data.features=['age','income']"], &["must not hold the target"]);
    check(TABLE, &["data.ignore=['income']"], &["must not hold the target"]);
    check(TABLE, &["data.features=['age']", "data.ignore=['age']"], &["both in"]);
    check(TABLE, &["data.categorical=['age']", "data.ignore=['age']"], &["both in"]);
    let strange = ["data.categorical=['zip']", "data.features=['age']"];
    check(TABLE, &strange, &["\"zip\", which is not among"]);
    check(IMAGES, &["data.ignore=['label']"], &["must not hold the target"]);
}

#[test]
fn splits_are_shares_of_a_whole() {
    check(TABLE, &["data.split.train=0.7"], &["add up to 1: 0.7 + 0.1 + 0.1"]);
    check(TABLE, &["data.split={train=0.7,validation=0.2,test=0.1}"], &[]);
    check(TABLE, &["data.split.train=0"], &["`data.split.train` must be above 0", "add up to 1"]);
    check(TABLE, &["data.split.test=-0.1"], &["`data.split.test` must be at least 0"]);
    check(TABLE, &["data.split.train=nan"], &["must be a finite number"]);
    let fold = |fold: &str, more: &[&str], expected: &[&str]| {
        let fold = format!("data.split.fold={fold}");
        let settings: Vec<&str> = std::iter::once(fold.as_str()).chain(more.iter().copied()).collect();
        check(TABLE, &settings, expected);
    };
    fold("{number=5,of=5}", &[], &[]);
    fold("{number=1,of=1}", &[], &["`data.split.fold.of` must be from 2 to 100, got 1"]);
    fold(
        "{number=6,of=5}",
        &[],
        &["`data.split.fold.number` must be 1 to 5, how many folds there are, got 6"],
    );
    let in_time = ["data.split.by=time", "data.split.time=when"];
    fold("{number=1,of=5}", &in_time, &[]);
    let dated = [in_time[0], in_time[1], "data.split.test_from='2024-01-01'"];
    fold("{number=1,of=5}", &dated, &["rows that may be divided anew"]);
    check(TABLE, &["data.split.train_share=0.25"], &[]);
    check(TABLE, &["data.reweigh=['sex']", "evaluate.sensitive=['sex']"], &[]);
    check(
        TABLE,
        &["data.reweigh=['sex']"],
        &["`data.reweigh` names `sex`, which must be in `evaluate.sensitive`"],
    );
    check(TABLE, &["data.split.train_share=0"], &["`data.split.train_share` must be above 0 and at most 1"]);
    let all = "data.split={train=1,validation=0,test=0}";
    check(TABLE, &[all], &[]);
    check(TABLE, &[all, "train.early_stop.metric=accuracy"], &["`data.split.validation` must be above 0"]);
    check(TABLE, &[all, "evaluate.gates=['accuracy > 0.5']"], &["since `evaluate.gates` is measured"]);
    check(TABLE, &[all, "evaluate.metrics=['accuracy']"], &["since `evaluate.metrics` is measured"]);
}

#[test]
fn every_way_to_split_has_its_column() {
    for objective in ["classification", "regression"] {
        check(TABLE, &["data.split.by=stratified", &format!("data.objective={objective}")], &[]);
    }
    check(TABLE, &["data.split.bins=1"], &["`data.split.bins` must be from 2 to 1000"]);
    for (by, setting) in [("group", "group"), ("time", "time"), ("hash", "key"), ("column", "column")] {
        let by = format!("data.split.by={by}");
        let column = format!("data.split.{setting}=who");
        check(TABLE, &[&by], &[&format!("needs `data.split.{setting}`")]);
        check(TABLE, &[&by, &column], &[]);
        check(TABLE, &[&by, &format!("data.split.{setting}=income")], &["must not be the target"]);
    }
    check(TABLE, &["data.split.key=who"], &["`data.split.key` is read with `data.split.by = \"hash\"` only"]);
    check(TABLE, &["data.split.group=who"], &[]);
    check(TABLE, &["data.split={group='who',leakage='allow'}"], &["`data.split.group` says nothing"]);
    check(TEXT, &["data.split.by=stratified"], &["a text can say fractions only"]);
}

#[test]
fn dates_that_cut_are_dates_and_in_order() {
    let split = |settings: &str| format!("data.split={{by='time',time='when',{settings}}}");
    check(TABLE, &[&split("test_from='2024-01-31'")], &[]);
    check(TABLE, &[&split("test_from='soon'")], &["must be a time such as"]);
    check(
        TABLE,
        &[&split("validation_from='2024-06-01',test_from='2024-01-31 12:00'")],
        &["`data.split.test_from` must be later"],
    );
    check(TABLE, &["data.split.test_from='2024-01-31'"], &["with `data.split.by = \"time\"` only"]);
    // Where dates decide, fractions do not.
    let dated = split("test_from='2024-01-31',train=1,validation=0,test=0");
    check(TABLE, &[&dated, "evaluate.gates=['accuracy > 0.5']"], &[]);
}

#[test]
fn columns_are_encoded_in_one_way() {
    check(TABLE, &["data.encode={numbers='robust',columns={age='quantile',city='hashing'},buckets=32}"], &[]);
    check(TABLE, &["data.encode.columns={age='robst'}"], &["`data.encode.columns.age` must be"]);
    check(TABLE, &["data.encode.columns={income='robust'}"], &["names the target"]);
    check(
        TABLE,
        &["data.encode.columns={a='robust'}", "data.ignore=['a']"],
        &["both in `data.encode.columns`"],
    );
    check(
        TABLE,
        &["data.encode.columns={a='robust'}", "data.features=['b']"],
        &["not among `data.features`"],
    );
    check(
        TABLE,
        &["data.encode.columns={a='log'}", "data.categorical=['a']"],
        &["encodes \"a\" as a number"],
    );
    check(TABLE, &["data.encode.columns={a='ordinal'}", "data.encode.order={a=['x','y']}"], &[]);
    check(TABLE, &["data.encode.order={a=['x','y']}"], &["which is not encoded as `ordinal`"]);
    check(TABLE, &["data.encode={categories='ordinal',order={a=['x','x']}}"], &["none twice"]);
    check(TABLE, &["data.encode.dates=[]"], &["at least one part"]);
    check(TABLE, &["data.encode.dates=['day','day']"], &["none twice"]);
    check(TABLE, &["data.encode.buckets=1"], &["`data.encode.buckets` must be from 2"]);
    check(TABLE, &["data.encode.text=bpe"], &["`data.encode.text` is about texts"]);
    check(TEXT, &["data.encode={text='bpe',vocabulary=1000}"], &[]);
    check(TEXT, &["data.encode.vocabulary=256"], &["`data.encode.vocabulary` must be from 257"]);
    check(TEXT, &["data.encode.columns={a='log'}"], &["`data.encode.columns` is about columns"]);
}

#[test]
fn images_alone_are_augmented() {
    check(IMAGES, &["train.augment={flip=true,shift=2}"], &[]);
    check(IMAGES, &["train.augment={shift=1,crop=4}"], &["`train.augment` must have either"]);
    check(IMAGES, &["train.augment.shift=28"], &["less than a side of an image"]);
    check(IMAGES, &["train.augment={}"], &["`train.augment` changes nothing"]);
    check(TABLE, &["train.augment.flip=true"], &["`train.augment` changes images"]);
    check(
        TABLE,
        &["train.shuffle=blocks", "train.shuffle_window=0"],
        &["`train.shuffle_window` must be from 1"],
    );
}

#[test]
fn lanes_divide_the_batch() {
    check(TABLE, &["train.lanes=5"], &["take `4` or `8` lanes, or a batch of `125` or `130`"]);
    check(TABLE, &["train.batch_size=0"], &["`train.batch_size` must be from 1"]);
    check(TABLE, &["train.batch_size=2000000"], &["`train.batch_size` must be from 1 to 1048576"]);
    check(TABLE, &["train.batch_size=4294967295"], &["`train.batch_size` must be from 1 to 1048576"]);
    check(TABLE, &["train.batch_size=3"], &["take `3` lanes, or a batch of `4`"]);
    check(TABLE, &["train.lanes=0"], &["`train.lanes` must be from 1 to 64"]);
    check(TABLE, &["train.lanes=128"], &["`train.lanes` must be from 1 to 64"]);
}

#[test]
fn training_has_one_end() {
    check(TABLE, &["train.epochs="], &["give `epochs` or `steps`"]);
    check(TABLE, &["train.steps=5"], &["both `epochs` and `steps`"]);
    check(TABLE, &["train.steps=5", "train.epochs="], &[]);
    check(TABLE, &["train.epochs=0"], &["`train.epochs` must be from 1"]);
    check(TEXT, &["train.steps=0"], &["`train.steps` must be from 1"]);
}

#[test]
fn rates_are_in_range() {
    for rate in ["0", "-0.1", "1.5"] {
        check(TABLE, &[&format!("train.learning_rate={rate}")], &["`train.learning_rate` must be above 0"]);
    }
    check(TABLE, &["train.clip_norm=0"], &["`train.clip_norm` must be above 0"]);
    check(TABLE, &["train.early_stop={metric='loss',patience=0}"], &["`train.early_stop.patience`"]);
    check(TABLE, &["train.early_stop={metric='loss',min_delta=-1}"], &["`train.early_stop.min_delta`"]);
}

#[test]
fn settings_belong_to_the_optimizer() {
    check(TABLE, &["train.optimizer.momentum=0.9"], &["a setting of `sgd`, `rmsprop` and `muon`"]);
    check(TABLE, &["train.optimizer.nesterov=true"], &["`train.optimizer.nesterov` is a setting of `sgd`"]);
    check(TABLE, &["train.optimizer={kind='sgd',beta_1=0.9}"], &["a setting of `adam`, `adamw`, `adan`"]);
    check(TABLE, &["train.optimizer={kind='sgd',epsilon=1e-8}"], &["`train.optimizer.epsilon` is a setting"]);
    check(
        TABLE,
        &["train.optimizer={kind='lion',epsilon=1e-8}"],
        &["`train.optimizer.epsilon` is a setting"],
    );
    check(TABLE, &["train.optimizer={kind='muon',momentum=0.9,nesterov=false}"], &[]);
    check(TABLE, &["train.optimizer={kind='sgd',nesterov=true}"], &["needs a `momentum`"]);
    check(TABLE, &["train.optimizer={kind='rmsprop',momentum=1}"], &["at least 0 and below 1, got 1"]);
    check(TABLE, &["train.optimizer.beta_2=1.0"], &["`train.optimizer.beta_2` must be"]);
    check(TABLE, &["train.optimizer.epsilon=0"], &["`train.optimizer.epsilon` must be above 0"]);
    check(
        TABLE,
        &["train.optimizer.weight_decay=-1"],
        &["`train.optimizer.weight_decay` must be from 0 to 1"],
    );
}

#[test]
fn settings_belong_to_the_schedule() {
    check(TABLE, &["train.schedule.kind=noam"], &["needs `train.schedule.warmup_steps`"]);
    check(TABLE, &["train.schedule.gamma=0.5"], &["a setting of `exponential` and `step`"]);
    check(TABLE, &["train.schedule.kind=exponential"], &["needs `train.schedule.gamma`"]);
    check(
        TABLE,
        &["train.schedule.kind=step"],
        &["needs `train.schedule.gamma`", "needs `train.schedule.every_steps`"],
    );
    check(
        TABLE,
        &["train.schedule={kind='exponential',gamma=1.1}"],
        &["`train.schedule.gamma` must be above 0"],
    );
    check(
        TABLE,
        &["train.schedule={kind='step',gamma=0.5,every_steps=0}"],
        &["`train.schedule.every_steps` must be from 1"],
    );
    check(TABLE, &["train.schedule.final_learning_rate=0.001"], &["a setting of `linear` and `cosine`"]);
    check(
        TABLE,
        &["train.schedule={kind='cosine',final_learning_rate=0.1}"],
        &["must be from 0 to the learning rate of 0.01"],
    );
    check(TEXT, &["train.schedule.warmup_steps=100"], &["fewer than the job's 100 steps"]);
}

#[test]
fn models_have_a_size() {
    check(TABLE, &["model.mlp.hidden=[64,0]"], &["`model.mlp.hidden` must hold widths from 1"]);
    check(TABLE, &["model.mlp.dropout=1"], &["`model.mlp.dropout` must be at least 0 and below 1"]);
    check(IMAGES, &["model.cnn.channels=[]"], &["at least one block"]);
    check(IMAGES, &["model.cnn.kernel=4"], &["must be an odd number"]);
    check(TEXT, &["model.gpt.layers=0"], &["`model.gpt.layers` must be from 1 to 128"]);
    check(TEXT, &["model.gpt.heads=0"], &["`model.gpt.heads` must be from 1"]);
    check(TEXT, &["model.gpt.heads=3"], &["3 heads cannot share 128"]);
    check(TEXT, &["model.gpt={heads=4,width=4}"], &["4 over 4 heads is 1 each"]);
    check(TEXT, &["model.gpt={heads=4,width=4,positions='learned'}"], &[]);
    check(TEXT, &["model.gpt.prompt=\"\""], &["`model.gpt.prompt` must have 1"]);
    check(TEXT, &["model.gpt.sample_bytes=100000"], &["`model.gpt.sample_bytes` must be from 0 to 65536"]);
    check(TEXT, &["data.text.context=0"], &["`data.text.context` must be from 1 to 65536"]);
}

#[test]
fn a_model_can_read_its_data() {
    check(TABLE, &["model={gpt={}}"], &["`model.gpt` reads bytes of text"]);
    check(TABLE, &["model={cnn={}}"], &["`model.cnn` reads images"]);
    check(TEXT, &["model={linear={}}"], &["`model.linear` cannot read a text"]);
    check(IMAGES, &["data.shape="], &["`data.shape` is missing"]);
    check(IMAGES, &["data.shape=[1,0,28]"], &["each from 1 to 4096"]);
    check(IMAGES, &["model.cnn.channels=[1,1,1,1]"], &[]);
    check(IMAGES, &["model.cnn.channels=[1,1,1,1,1]"], &["28×28 can be halved only 4 times"]);
    for job in [TABLE, IMAGES, TEXT] {
        check(job, &["model={custom={task='own'}}"], &[]);
    }
    check(TABLE, &["model={custom={task='mlp'}}"], &["the name of a built-in model"]);
    check(TABLE, &["model={custom={task=''}}"], &["must name a task"]);
}

#[test]
fn workers_need_lanes() {
    check(TABLE, &["workers.min=0"], &["`workers.min` must be at least 1"]);
    check(TABLE, &["workers.max=5"], &["at most the job's 4 lanes, got 5"]);
    check(TABLE, &["workers={min=3,max=2}"], &["`workers.min` must be at most `workers.max`"]);
    check(TABLE, &["checkpoint.keep=0"], &["`checkpoint.keep` must be from 1"]);
    check(TABLE, &["checkpoint.keep_every=500"], &[]);
    check(TABLE, &["checkpoint.keep_every=0"], &["`checkpoint.keep_every` must be from 1"]);
}

#[test]
fn priorities_are_bounded_and_projects_have_names() {
    for priority in [-101, 101, i32::MAX, i32::MIN] {
        let expected = format!("`schedule.priority` must be from -100 to 100, got {priority}");
        check(TABLE, &[&format!("schedule.priority={priority}")], &[&expected]);
    }
    for project in ["Vision", "", "a b", "../a", &"a".repeat(64)] {
        check(TABLE, &[&format!("schedule.project=\"{project}\"")], &["`schedule.project` must be 1 to 63"]);
    }
    check(TABLE, &["schedule={priority=-100,project='vision'}"], &[]);
    check(TABLE, &["schedule.priority=100", "schedule.project=\"2026\""], &[]);
}

#[test]
fn registered_models_have_names() {
    check(TABLE, &["register.model=Best Model"], &["`register.model` must be 1 to 63"]);
    check(TABLE, &["register={model='a',alias='../b'}"], &["`register.alias` must be 1 to 63"]);
    check(TABLE, &["register={model='a',alias='3'}"], &["`register.alias` must not be a number alone"]);
    check(TABLE, &["register={model='3',alias='v3'}"], &[]);
}
