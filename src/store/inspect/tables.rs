//! Judges the tables: their version, engine, columns and indexes.

use super::Terms;
use super::facts::{ColumnFacts, Facts};
use super::finding::{Finding, Topic};
use super::wanted::{WantedColumn, normal_type, wanted_columns};
use crate::store::schema::{CURRENT_VERSION, SchemaState};

pub(super) fn judge(facts: &Facts, terms: &Terms) -> Vec<Finding> {
    let migrate = format!("strings-queue migrate {}", terms.ini);
    match facts.schema {
        Ok(SchemaState::Missing) => vec![missing(facts, &migrate)],
        Ok(SchemaState::Ancestor) => vec![older("they are the ancestor's, or an upgrade was cut off", &migrate)],
        Ok(SchemaState::Older(version)) => {
            vec![older(&format!("they are of version {version}, and we need {CURRENT_VERSION}"), &migrate)]
        }
        Ok(SchemaState::WithoutLog) => {
            vec![Finding::fault(Topic::Tables, "there is no table queued_job_log", migrate)]
        }
        Ok(SchemaState::Newer(version)) => {
            let what = format!("the tables are of version {version}, newer than this program's {CURRENT_VERSION}");
            vec![Finding::remark(Topic::Tables, what, "install the newer strings-queue here too")]
        }
        // Without the right to read the version, the tables themselves are looked at.
        Ok(SchemaState::Current) | Err(_) => shape(facts, &migrate),
    }
}

fn missing(facts: &Facts, migrate: &str) -> Finding {
    let Facts { database, account, .. } = facts;
    let what = format!("there is no table queued_job in {database} that {account} may see");
    Finding::fault(Topic::Tables, what, migrate)
}

fn older(how: &str, migrate: &str) -> Finding {
    Finding::fault(Topic::Tables, format!("the tables must be upgraded: {how}"), migrate)
}

fn shape(facts: &Facts, migrate: &str) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts.engines.iter().filter_map(judge_engine).collect();
    let (states, others): (Vec<_>, Vec<_>) = wanted_columns().into_iter().partition(is_state);
    // What mends a missing state takes the other columns to be there.
    for wanted in others.into_iter().chain(states) {
        let mut of_table = facts.columns.iter().filter(|column| column.table == wanted.table).peekable();
        // Of a table that we may not see, nothing can be told.
        if of_table.peek().is_some() {
            let column = of_table.find(|column| column.name.eq_ignore_ascii_case(&wanted.name));
            found.extend(judge_column(&wanted, column, migrate));
        }
    }
    found.extend(judge_indexes(facts));
    found
}

fn judge_engine((table, engine): &(String, Option<String>)) -> Option<Finding> {
    let engine = engine.as_deref().unwrap_or("none: it is a view");
    (!engine.eq_ignore_ascii_case("InnoDB")).then(|| {
        let what = format!("the engine of {table} is {engine}, and claims need InnoDB's transactions");
        Finding::fault(Topic::Tables, what, format!("ALTER TABLE {table} ENGINE = InnoDB;"))
    })
}

fn judge_column(wanted: &WantedColumn, column: Option<&ColumnFacts>, migrate: &str) -> Option<Finding> {
    let WantedColumn { table, name, definition, column_type } = wanted;
    let Some(column) = column else {
        return Some(Finding::fault(
            Topic::Tables,
            format!("{table} has no column {name}"),
            add_column(wanted, migrate),
        ));
    };
    let found = normal_type(&column.column_type);
    if found == *column_type || is_as_good(wanted, &found) {
        return None;
    }
    let what = format!("{table}.{name} is {found}, and not {column_type}");
    let mend = format!("ALTER TABLE {table} MODIFY COLUMN {name} {definition};");
    let finding = if serves(&found, wanted) { Finding::remark } else { Finding::fault };
    Some(finding(Topic::Tables, what, mend))
}

fn is_state(wanted: &WantedColumn) -> bool {
    (wanted.table.as_str(), wanted.name.as_str()) == ("queued_job", "state")
}

/// A `state` that begins as `available` would run every finished job again: `migrate` fills it from what became of
/// the jobs.
fn add_column(wanted: &WantedColumn, migrate: &str) -> String {
    let WantedColumn { table, name, definition, column_type } = wanted;
    if is_state(wanted) {
        return format!(
            "stop the service, then:\nALTER TABLE queued_job ADD COLUMN state {column_type} NULL;\n\
             DELETE FROM queued_job_migration;\n{migrate}"
        );
    }
    format!("ALTER TABLE {table} ADD COLUMN {name} {definition};")
}

/// Whether the column's type is the application's to choose, and it chose one: what it says of whose job it is we never
/// read, and a body may be raw bytes.
fn is_as_good(wanted: &WantedColumn, found: &str) -> bool {
    match (wanted.table.as_str(), wanted.name.as_str()) {
        ("queued_job", "organization_id") => true,
        ("queued_job", "body") => found == "longblob",
        _ => false,
    }
}

/// Whether a column of another type does the same for us, within its limits.
fn serves(found: &str, WantedColumn { name, column_type: wanted, .. }: &WantedColumn) -> bool {
    if name == "body" && matches!(family(found), "tinyblob" | "blob" | "mediumblob" | "binary" | "varbinary") {
        return true;
    }
    if wanted.starts_with("enum(") {
        // The log has the values by their numbers: others may only follow.
        return found.starts_with(wanted.trim_end_matches(')'));
    }
    family(found) == family(wanted) && has_room(found, name)
}

/// Whether what we write ourselves fits: a token takes up to 63 bits, and a dispatcher's name up to 64 letters.
fn has_room(found: &str, name: &str) -> bool {
    let length = || found.split(['(', ')']).nth(1).and_then(|digits| digits.parse::<u32>().ok());
    match name {
        "claim_token" => found.starts_with("bigint"),
        "claimed_by" => length().is_none_or(|letters| letters >= 64),
        _ => true,
    }
}

fn family(column_type: &str) -> &str {
    let name = column_type.split(['(', ' ']).next().unwrap_or_default();
    match name {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => "integer",
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => "text",
        other => other,
    }
}

fn judge_indexes(facts: &Facts) -> Vec<Finding> {
    let has = |table: &str, named: Option<&str>, columns: &str| {
        facts.indexes.iter().any(|index| {
            index.table == table
                && index.is_used
                && named.is_none_or(|name| index.name.eq_ignore_ascii_case(name))
                && (index.columns == columns || index.columns.starts_with(&format!("{columns},")))
        })
    };
    // One of the name may be there, and be another one or not used.
    let index_made = |table: &str, name: &str, columns: &str| {
        let mut of_the_name = facts.indexes.iter().filter(|index| index.table == table);
        let other = of_the_name.any(|index| index.name.eq_ignore_ascii_case(name));
        let drop = if other { format!("DROP INDEX {name} ON {table};\n") } else { String::new() };
        format!("{drop}CREATE INDEX {name} ON {table} ({columns});")
    };
    let there = |table: &str| facts.columns.iter().any(|column| column.table == table);
    let mut found = Vec::new();
    // By its name: the sweep's query asks for it.
    if there("queued_job") && !has("queued_job", Some("state_run_at"), "state,run_at") {
        let mend = index_made("queued_job", "state_run_at", "state, run_at");
        let what = "queued_job has no index state_run_at on (state, run_at) that may be used";
        found.push(Finding::fault(Topic::Tables, what, mend));
    }
    if there("queued_job") && !has("queued_job", Some("PRIMARY"), "id") {
        let other = facts.indexes.iter().any(|index| index.table == "queued_job" && index.name == "PRIMARY");
        let drop = if other { "DROP PRIMARY KEY, " } else { "" };
        let mend = format!("ALTER TABLE queued_job {drop}ADD PRIMARY KEY (id);");
        found.push(Finding::fault(Topic::Tables, "id is not the primary key of queued_job", mend));
    }
    if there("queued_job_log") && !has("queued_job_log", None, "job_id") {
        let mend = index_made("queued_job_log", "job_id", "job_id");
        found.push(Finding::remark(
            Topic::Tables,
            "queued_job_log has no index on job_id, by which the lines of a job are found",
            mend,
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, index, terms, whats};
    use super::*;

    fn altered(alter: impl FnOnce(&mut Facts)) -> Vec<Finding> {
        let mut facts = facts();
        alter(&mut facts);
        judge(&facts, &terms())
    }

    fn retyped(name: &str, column_type: &str) -> Vec<Finding> {
        altered(|facts| {
            let column = facts.columns.iter_mut().find(|column| column.name == name).unwrap();
            column_type.clone_into(&mut column.column_type);
        })
    }

    #[test]
    fn our_own_tables_are_good() {
        assert_eq!(altered(|_| ()), []);
    }

    #[test]
    fn other_versions_are_mended_by_migrate() {
        for state in [SchemaState::Missing, SchemaState::Ancestor, SchemaState::Older(0)] {
            let found = altered(|facts| facts.schema = Ok(state));
            assert!(found.len() == 1 && found[0].mend == "strings-queue migrate db.ini", "{found:?}");
        }
        assert_eq!(whats(&altered(|facts| facts.schema = Ok(SchemaState::Newer(9)))), "remark");
    }

    #[test]
    fn what_we_write_ourselves_must_fit() {
        let fits = |name: &str, found: &str| {
            let wanted = wanted_columns().into_iter().find(|wanted| wanted.name == name).unwrap();
            serves(found, &wanted)
        };
        assert!(fits("claim_token", "bigint") && !fits("claim_token", "int unsigned"));
        assert!(fits("claimed_by", "varchar(255)") && !fits("claimed_by", "varchar(32)") && fits("claimed_by", "text"));
        assert!(fits("attempt", "bigint"));
    }

    #[test]
    fn a_missing_column_is_told_with_its_definition() {
        let without = |name: &str| altered(|facts| facts.columns.retain(|column| column.name != name));
        let found = without("retry_delay_secs");
        let expected = "ALTER TABLE queued_job ADD COLUMN retry_delay_secs INT NOT NULL DEFAULT 60;";
        assert_eq!((found.len(), found[0].mend.as_str()), (1, expected));
        let state = &without("state")[0].mend;
        assert!(state.contains(" NULL;\nDELETE FROM queued_job_migration;\nstrings-queue migrate"), "{state}");
    }

    #[test]
    fn another_type_is_a_fault_unless_it_serves() {
        assert_eq!(whats(&retyped("url", "text")), "remark");
        assert_eq!(whats(&retyped("timeout_secs", "smallint(6)")), "remark");
        assert_eq!(whats(&retyped("run_at", "datetime(6)")), "fault");
        assert_eq!(whats(&retyped("state", "enum('available','executing')")), "fault");
        assert_eq!(
            (whats(&retyped("body", "blob")), whats(&retyped("url", "blob"))),
            ("remark".into(), "fault".into())
        );
        assert!(
            retyped("state", "varchar(20)")[0].mend.starts_with("ALTER TABLE queued_job MODIFY COLUMN state ENUM(")
        );
    }

    #[test]
    fn what_is_the_applications_to_choose_is_not_judged() {
        assert_eq!(retyped("body", "longblob"), []);
        assert_eq!(retyped("organization_id", "char(36)"), []);
    }

    #[test]
    fn engines_and_indexes_are_looked_at() {
        let myisam = altered(|facts| facts.engines[0].1 = Some("MyISAM".to_owned()));
        assert_eq!(myisam[0].mend, "ALTER TABLE queued_job ENGINE = InnoDB;");
        let bare = altered(|facts| facts.indexes.clear());
        assert_eq!(whats(&bare), "fault fault remark");
        assert_eq!(bare[0].mend, "CREATE INDEX state_run_at ON queued_job (state, run_at);");
        let hidden = altered(|facts| facts.indexes[1].is_used = false);
        assert!(hidden[0].mend.starts_with("DROP INDEX state_run_at ON queued_job;\nCREATE INDEX"), "{hidden:?}");
        let other = altered(|facts| facts.indexes[1] = index("queued_job", "state_run_at", "run_at"));
        assert!(other[0].mend.starts_with("DROP INDEX state_run_at ON queued_job;\nCREATE INDEX"), "{other:?}");
    }
}
