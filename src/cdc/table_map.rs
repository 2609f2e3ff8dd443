//! `TABLE_MAP`: which table the row events with this number are about, and what its columns look like.
//!
//! Body (MySQL internals, "`TABLE_MAP_EVENT`"): number 6, flags 2, length 1, database, 0, length 1, table, 0,
//! column count packed, one type byte per column, metadata with its packed length before it, more that we skip.

use super::bytes::Bytes;
use super::column::Column;

/// The name of our table, as the log writes it.
#[derive(Debug, Clone)]
pub(super) struct TableName {
    pub(super) database: String,
    pub(super) table: String,
    /// The server compares names without regard to case (`lower_case_table_names` 1 or 2).
    pub(super) ignore_case: bool,
}

impl TableName {
    fn is(&self, database: &[u8], table: &[u8]) -> bool {
        self.matches(&self.database, database) && self.matches(&self.table, table)
    }

    fn matches(&self, ours: &str, theirs: &[u8]) -> bool {
        ours.as_bytes() == theirs
            || self.ignore_case
                && std::str::from_utf8(theirs).is_ok_and(|theirs| theirs.to_lowercase() == ours.to_lowercase())
    }
}

/// Our table under one number.
#[derive(Debug)]
pub(super) struct OurTable {
    number: u64,
    /// `None`: there is a column type that we do not know.
    pub(super) columns: Option<Vec<Column>>,
    described: Vec<u8>,
}

/// The numbers under which our table is known just now. There is one, and for moments two (a partitioned
/// table's change), so a short list is the fastest.
#[derive(Debug)]
pub(super) struct OurTables {
    name: TableName,
    tables: Vec<OurTable>,
}

/// More numbers than our table ever has at once in one file of the log, but for a server that flushes tables
/// all the time: the oldest is then forgotten, which no event refers to any more.
const KEPT_NUMBERS: usize = 16;

impl OurTables {
    pub(super) fn new(name: TableName) -> Self {
        OurTables { name, tables: Vec::new() }
    }

    /// The name of the table.
    pub(super) fn name(&self) -> &TableName {
        &self.name
    }

    /// Forgets all numbers: a new file of the log begins.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
    }

    /// Our table under this number.
    pub(super) fn get(&self, number: u64) -> Option<&OurTable> {
        self.tables.iter().find(|table| table.number == number)
    }

    /// Takes in a `TABLE_MAP`. `None`: it is cut short.
    pub(super) fn map(&mut self, body: &[u8]) -> Option<()> {
        let mut bytes = Bytes::new(body);
        let number = bytes.uint(6)?;
        bytes.skip(2)?;
        let (database, table) = (name(&mut bytes)?, name(&mut bytes)?);
        let described = bytes.rest();
        let known = self.tables.iter().position(|table| table.number == number);
        if !self.name.is(database, table) {
            known.map(|index| self.tables.swap_remove(index));
            return Some(());
        }
        match known {
            Some(index) if self.tables[index].described == described => return Some(()),
            Some(index) => drop(self.tables.swap_remove(index)),
            None if self.tables.len() == KEPT_NUMBERS => drop(self.tables.remove(0)),
            None => {}
        }
        self.tables.push(OurTable { number, columns: columns(bytes), described: described.to_vec() });
        Some(())
    }
}

fn name<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let length = bytes.length(1)?;
    let name = bytes.take(length)?;
    bytes.skip(1)?;
    Some(name)
}

fn columns(mut bytes: Bytes<'_>) -> Option<Vec<Column>> {
    let count = bytes.packed_length()?;
    let kinds = bytes.take(count)?;
    let length = bytes.packed_length()?;
    let mut metadata = Bytes::new(bytes.take(length)?);
    kinds.iter().map(|kind| Column::read(*kind, &mut metadata)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, table_map};
    use super::*;

    fn tables() -> OurTables {
        OurTables::new(testing::table_name())
    }

    #[test]
    fn only_the_exact_table_of_the_exact_database_is_ours() {
        let mut tables = tables();
        for (database, table) in
            [("shop", "queued_job_log"), ("shop2", "queued_job"), ("Shop", "queued_job"), ("", "queued_job")]
        {
            tables.map(&table_map(7, database, table)).unwrap();
            assert!(tables.get(7).is_none(), "{database}.{table}");
        }
        tables.map(&table_map(7, "shop", "queued_job")).unwrap();
        assert_eq!(tables.get(7).unwrap().columns.as_ref().unwrap().len(), testing::COLUMNS);
    }

    #[test]
    fn names_may_differ_in_case_where_the_server_says_so() {
        let mut tables = OurTables::new(TableName { ignore_case: true, ..testing::table_name() });
        tables.map(&table_map(7, "SHOP", "Queued_Job")).unwrap();
        assert!(tables.get(7).is_some());
    }

    #[test]
    fn a_number_that_goes_to_another_table_is_not_ours_any_more() {
        let mut tables = tables();
        tables.map(&table_map(7, "shop", "queued_job")).unwrap();
        tables.map(&table_map(7, "shop", "orders")).unwrap();
        assert!(tables.get(7).is_none());
    }

    #[test]
    fn numbers_do_not_pile_up() {
        let mut tables = tables();
        for number in 0..1000 {
            tables.map(&table_map(number, "shop", "queued_job")).unwrap();
        }
        assert_eq!(tables.tables.len(), KEPT_NUMBERS);
        assert!(tables.get(999).is_some());
    }

    #[test]
    fn an_unknown_column_type_leaves_the_columns_unknown() {
        let mut body = table_map(7, "shop", "queued_job");
        let kinds = 8 + 1 + 4 + 1 + 1 + 10 + 1 + 1;
        body[kinds] = 200;
        let mut tables = tables();
        tables.map(&body).unwrap();
        assert!(tables.get(7).unwrap().columns.is_none());
    }

    #[test]
    fn a_map_cut_short_never_panics() {
        let body = table_map(7, "shop", "queued_job");
        for end in 0..body.len() {
            let _ = tables().map(&body[..end]);
        }
    }
}
