//! What the tables shall look like: the columns as `schema.sql` defines them.

use crate::store::migrate::SCHEMA;

/// A column of `schema.sql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedColumn {
    pub(super) table: String,
    pub(super) name: String,
    /// In the form of [`normal_type`].
    pub(super) column_type: String,
    /// All that stands behind the name.
    pub(super) definition: String,
}

/// All columns of `schema.sql`.
pub(super) fn wanted_columns() -> Vec<WantedColumn> {
    let code: Vec<&str> = SCHEMA.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut columns = Vec::new();
    for statement in code.split("CREATE TABLE IF NOT EXISTS ").skip(1) {
        let Some((table, rest)) = statement.split_once('(') else { continue };
        let body = rest.split("\n)").next().unwrap_or_default();
        columns.extend(items(body).iter().filter_map(|item| column_of(table.trim(), item)));
    }
    columns
}

/// The items between the commas that stand in no parentheses and no quotes.
fn items(body: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut items) = (0_i32, false, vec![String::new()]);
    for letter in body.chars() {
        quoted ^= letter == '\'';
        if !quoted {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
        }
        match items.last_mut() {
            Some(item) if letter != ',' || depth > 0 || quoted => item.push(letter),
            _ => items.push(String::new()),
        }
    }
    items
}

fn column_of(table: &str, item: &str) -> Option<WantedColumn> {
    let words: Vec<&str> = item.split_whitespace().collect();
    let (name, definition) = words.split_first()?;
    // Keys begin with a capital.
    if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        return None;
    }
    let definition = definition.join(" ");
    let ends = [" NOT NULL", " NULL", " CHARACTER SET"];
    let end = ends.iter().filter_map(|end| definition.find(end)).min().unwrap_or(definition.len());
    let column_type = normal_type(&definition[..end]);
    Some(WantedColumn { table: table.to_owned(), name: (*name).to_owned(), column_type, definition })
}

/// A type as both servers can be made to write it: small letters, no display width, no space behind commas.
pub(super) fn normal_type(text: &str) -> String {
    let text = text.to_lowercase().replace(", ", ",");
    let Some((head, rest)) = text.split_once('(') else { return text };
    match rest.split_once(')') {
        Some((_, rest)) if head.ends_with("int") => format!("{head}{rest}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(table: &str, name: &str) -> WantedColumn {
        let found = wanted_columns().into_iter().find(|column| column.table == table && column.name == name);
        found.unwrap_or_else(|| panic!("{table}.{name}"))
    }

    #[test]
    fn the_columns_of_the_schema_are_read() {
        let count = |table: &str| wanted_columns().iter().filter(|column| column.table == table).count();
        assert_eq!([count("queued_job"), count("queued_job_log"), count("queued_job_migration")], [19, 4, 2]);
        assert_eq!(wanted("queued_job", "id").column_type, "bigint unsigned");
        assert_eq!(wanted("queued_job", "claimed_by").column_type, "varchar(64)");
        assert_eq!(wanted("queued_job", "run_at").definition, "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)");
        let state = wanted("queued_job", "state");
        assert!(state.column_type.starts_with("enum('available','executing',"), "{state:?}");
        assert!(state.definition.ends_with("NOT NULL DEFAULT 'available'"), "{state:?}");
        assert!(wanted("queued_job", "result_code").definition.contains("0 success, 1 permanent"));
    }

    #[test]
    fn both_servers_ways_to_write_a_type_are_one() {
        assert_eq!(normal_type("bigint(20) unsigned"), "bigint unsigned");
        assert_eq!(normal_type("INT"), "int");
        assert_eq!(normal_type("timestamp(6)"), "timestamp(6)");
        assert_eq!(normal_type("ENUM('a', 'b')"), "enum('a','b')");
    }
}
