//! A rollback of several days that the warehouse does not carry to its end: it has taken some of them
//! already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use recctl::app::App;
use recctl::engine::rollback::{TableRollback, roll_back};
use recctl::pipeline::name::Name;
use recctl::run::record::Status;

use super::faults::{Heard, app, attempt, pipeline, project, services};
use super::faulty::{Fault, Gate};
use crate::sandbox::{DAY, Sandbox};

/// The sum of the weights of each day, as readers of the warehouse have it.
fn weights(sandbox: &Sandbox) -> BTreeMap<String, i64> {
    let warehouse = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    let sql = "SELECT dt, CAST(sum(weight) AS INTEGER) FROM interactions GROUP BY dt";
    let mut query = warehouse.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_the_warehouse_took_go_forth_again() {
    let sandbox = project();
    let before = weights(&sandbox);
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 2)");
    let app = app(&sandbox);
    let pipeline = pipeline(&app, Duration::ZERO).await;
    let heard = Arc::new(Heard::default());
    let ended = attempt(&app, &pipeline, DAY, &Gate::open(), &heard).await.unwrap();
    assert_eq!(ended.0, Status::Succeeded, "{:?}", ended.1);
    let now = weights(&sandbox);
    let differ = before.iter().filter(|(day, sum)| now.get(*day) != Some(sum)).count();
    assert!(differ > 1, "{before:?} {now:?}");
    let runs = services(&app, &Gate::open()).await.state.runs(10).await.unwrap();
    let first = runs.last().unwrap().id.clone();
    for fault in [Fault::Denied, Fault::LostAnswer] {
        let services = Arc::new(services(&app, &Gate::failing(("warehouse.load", 1), fault)).await);
        let visible = services.catalog.partitions("interactions").await.unwrap();
        let wanted = TableRollback {
            table: "interactions".to_owned(),
            run: first.clone(),
            date: None,
            with_run: false,
            holder: App::holder(),
        };
        let find = async |_: &Name| Ok(Arc::clone(&pipeline));
        let failure = roll_back(&services, &wanted, find, heard.as_ref()).await.unwrap_err();
        assert!(failure.to_string().contains("nothing was rolled back"), "{failure}");
        assert_eq!(weights(&sandbox), now, "{fault:?}");
        let shown = services.catalog.partitions("interactions").await.unwrap();
        assert!(shown.iter().zip(&visible).all(|(one, other)| one.is_same(other)), "{fault:?}");
        assert_eq!(services.state.publications().await, Ok(vec![]), "{fault:?}");
    }
    // Without a fault the same takes all days back.
    let services = Arc::new(services(&app, &Gate::open()).await);
    let wanted = TableRollback {
        table: "interactions".to_owned(),
        run: first,
        date: None,
        with_run: false,
        holder: App::holder(),
    };
    let find = async |_: &Name| Ok(Arc::clone(&pipeline));
    roll_back(&services, &wanted, find, heard.as_ref()).await.unwrap();
    assert_eq!(weights(&sandbox), before);
}
