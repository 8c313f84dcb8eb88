//! The functions that SQL in a job file may call: DataFusion's of one row. There are
//! no tables, variables, or functions over many rows.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, TableReference, config::ConfigOptions, plan_err};
use datafusion_expr::{
    AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
    planner::{ContextProvider, ExprPlanner},
};
use datafusion_functions::{all_default_functions, core, datetime, unicode};

/// The functions by name.
pub(super) struct Functions {
    by_name: BTreeMap<String, Arc<ScalarUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl Functions {
    pub(super) fn new() -> Self {
        let mut by_name = BTreeMap::new();
        for function in all_default_functions() {
            for name in function.aliases() {
                by_name.insert(name.clone(), function.clone());
            }
            by_name.insert(function.name().to_owned(), function);
        }
        // For what is a function in all but its form: `extract(year from day)`, `substring(a from 2)`.
        let planners: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(core::planner::CoreFunctionPlanner::default()),
            Arc::new(datetime::planner::DatetimeFunctionPlanner),
            Arc::new(unicode::planner::UnicodeFunctionPlanner),
        ];
        Self { by_name, planners, options: ConfigOptions::new() }
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>, DataFusionError> {
        plan_err!("there is no table `{name}`: a step sees one row at a time")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.by_name.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
