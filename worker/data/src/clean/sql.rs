//! SQL over the columns of one row, evaluated by DataFusion.
//!
//! What is written in a job file must mean the same each time, and for each row by
//! itself: functions of time or chance, aggregates, windows and subqueries are refused.

use std::{
    sync::{Arc, LazyLock},
    thread,
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion_common::{
    DFSchema, DataFusionError,
    tree_node::{TreeNode as _, TreeNodeRecursion},
};
use datafusion_expr::{
    Expr, Volatility, execution_props::ExecutionProps, physical_planning_context::PhysicalPlanningContext,
    simplify::SimplifyContext,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::{
    parser::DFParserBuilder,
    planner::{ParserOptions, PlannerContext, SqlToRel},
};

use super::functions::Functions;

/// The most characters of an expression.
const CHARS_MAX: usize = 4_000;

/// The most operations within each other: they are evaluated by functions that call themselves.
const DEPTH_MAX: usize = 200;

/// The stack of the thread that reads an expression: enough for one that is all operations.
const STACK_BYTES: usize = 256 << 20;

/// An expression over the columns of a table.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    expression: Arc<dyn PhysicalExpr>,
}

impl Sql {
    /// Reads `text`, in which names are columns of `schema`, as they are written.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(crate) fn new(text: &str, schema: &SchemaRef) -> Result<Self, String> {
        if text.chars().count() > CHARS_MAX {
            return Err(format!("expected at most {CHARS_MAX} characters"));
        }
        // How deep it is shows only when it has been read, by functions that call themselves.
        thread::scope(|scope| {
            let reading = thread::Builder::new().stack_size(STACK_BYTES);
            let reading = reading.spawn_scoped(scope, || Self::read(text, schema));
            let reading = reading.map_err(|error| error.to_string())?;
            reading.join().unwrap_or_else(|_| Err("it cannot be read".to_owned()))
        })
    }

    fn read(text: &str, schema: &SchemaRef) -> Result<Self, String> {
        static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);
        let told = |error: DataFusionError| sentence(&error);
        let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(told)?;
        let parsed = DFParserBuilder::new(text).build().and_then(|mut parser| parser.parse_expr());
        // Names are columns as they are written, and not in small letters.
        let options = ParserOptions { enable_ident_normalization: false, ..ParserOptions::default() };
        let planner = SqlToRel::new_with_options(&*FUNCTIONS, options);
        let parsed = parsed.map_err(told)?.expr;
        let logical = planner.sql_to_expr(parsed, &columns, &mut PlannerContext::new()).map_err(told)?;
        if let Some(reason) = refused(&logical) {
            return Err(reason);
        }
        let simplify = SimplifyContext::builder().with_schema(Arc::new(columns.clone())).build();
        let logical = ExprSimplifier::new(simplify).coerce(logical, &columns).map_err(told)?;
        let planning = PhysicalPlanningContext::default();
        let expression = create_physical_expr(&logical, &columns, &ExecutionProps::new(), &planning);
        let expression = expression.map_err(told)?;
        // What it is a type of shows only now that names have become columns.
        expression.data_type(schema).map_err(told)?;
        Ok(Self { expression })
    }

    /// A condition; see [`new`](Self::new).
    pub(crate) fn condition(text: &str, schema: &SchemaRef) -> Result<Self, String> {
        let sql = Self::new(text, schema)?;
        match sql.data_type(schema) {
            DataType::Boolean => Ok(sql),
            other => Err(format!(
                "expected a condition, which is true or false, found one that is of type {other}"
            )),
        }
    }

    /// The type of its values.
    pub(crate) fn data_type(&self, schema: &SchemaRef) -> DataType {
        self.expression.data_type(schema).unwrap_or(DataType::Null)
    }

    /// Its value for each row.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let values = self.expression.evaluate(batch).and_then(|values| values.into_array(batch.num_rows()));
        values.map_err(|error| sentence(&error))
    }

    /// Whether the condition is true of each row; unknown is not true.
    pub(crate) fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        let values = self.values(batch)?;
        let values = values.as_boolean();
        if values.null_count() == 0 {
            return Ok(values.clone());
        }
        Ok(values.iter().map(|value| Some(value == Some(true))).collect())
    }
}

/// Why an expression may not stand in a job file. Functions over many rows and tables are not known in the first place.
fn refused(expression: &Expr) -> Option<String> {
    if depth(expression) > DEPTH_MAX {
        return Some(format!(
            "more than {DEPTH_MAX} operations lie within each other; `in (…)` takes the place of many `or`"
        ));
    }
    let mut reason = None;
    let walked = expression.apply(|part| {
        if let Expr::ScalarFunction(function) = part
            && function.func.signature().volatility != Volatility::Immutable
        {
            reason = Some(format!("`{}` gives something else each time", function.func.name()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.err().map(|error| sentence(&error)).or(reason)
}

/// How many operations lie within each other.
fn depth(expression: &Expr) -> usize {
    let mut deepest = 0;
    let inner = expression.apply_children(|part| {
        deepest = deepest.max(depth(part));
        Ok(TreeNodeRecursion::Continue)
    });
    match inner {
        Ok(_) => deepest + 1,
        Err(_) => usize::MAX,
    }
}

/// DataFusion's error on one line, without the trace that it may carry.
fn sentence(error: &DataFusionError) -> String {
    if matches!(error, DataFusionError::Internal(_)) {
        // The planner says that it knows no functions over many rows, in words of its own.
        return "it is over many rows, or cannot be read".to_owned();
    }
    crate::error::cut(error.strip_backtrace().lines().next().unwrap_or_default(), 300)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::Int64Array,
        datatypes::{Field, Schema},
    };

    use super::*;

    fn batch() -> RecordBatch {
        let ages: ArrayRef = Arc::new(Int64Array::from(vec![Some(16), Some(17), None]));
        let names: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a", "b", "c"]));
        let fields =
            vec![Field::new("age", DataType::Int64, true), Field::new("First Name", DataType::Utf8, true)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![ages, names]).unwrap()
    }

    #[test]
    fn a_condition_keeps_what_is_true_and_neither_false_nor_unknown() {
        let batch = batch();
        let check = |text: &str, expected: [bool; 3]| {
            let holds = Sql::condition(text, &batch.schema()).unwrap().holds(&batch).unwrap();
            assert_eq!(holds.iter().map(Option::unwrap).collect::<Vec<_>>(), expected, "{text}");
        };
        check("age >= 17", [false, true, false]);
        check("\"First Name\" <> 'b' OR age = 17", [true, true, true]);
        check("age IS NULL", [false, false, true]);
    }

    #[test]
    fn a_deep_expression_is_evaluated_and_a_deeper_one_refused_without_an_overflow_of_the_stack() {
        let batch = batch();
        let text = |operations: usize| format!("age{}", "+1".repeat(operations));
        let sum = Sql::new(&text(DEPTH_MAX - 2), &batch.schema()).unwrap().values(&batch).unwrap();
        assert_eq!(sum.as_primitive::<arrow::datatypes::Int64Type>().value(0), 16 + DEPTH_MAX as i64 - 2);
        let error = Sql::new(&text(CHARS_MAX / 2 - 2), &batch.schema()).unwrap_err();
        assert!(error.contains("operations lie within each other"), "{error}");
    }

    #[test]
    fn what_depends_on_time_chance_or_other_rows_is_refused() {
        let check = |text: &str, part: &str| {
            let error = Sql::new(text, &batch().schema()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("age + random()", "something else each time");
        check("now()", "something else each time");
        check("avg(age)", "avg");
        check("row_number() over ()", "over many rows");
        check("age > (SELECT max(a) FROM b)", "b");
        check("agee > 1", "agee");
        check("age >", "");
        check(&"age + ".repeat(700), "at most 4000 characters");
        assert!(Sql::condition("age + 1", &batch().schema()).unwrap_err().contains("a condition"));
    }
}
