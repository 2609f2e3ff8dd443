-- The least that strings-queue must be allowed on MariaDB. Run it as an administrator, part by part.
--
-- Replace first: 'strings_queue'@'127.0.0.1' by the account (user, and the host that it comes from), CHANGE-ME by its
-- password, and the database strings_queue, before the dot, by yours. `strings-queue check db.ini` then tells what is
-- still missing.

-- Part 1: the account.
CREATE USER 'strings_queue'@'127.0.0.1' IDENTIFIED BY 'CHANGE-ME';

-- Part 2, once, for `strings-queue migrate db.ini`, before there are tables, and again before an upgrade. It can be
-- left out where an administrator makes the tables, `strings-queue migrate --print | mariadb strings_queue`, or upgrades
-- them, `strings-queue migrate db.ini --print | mariadb strings_queue`, for
-- which db.ini names an account that may read the old tables.
GRANT SELECT, INSERT, UPDATE, CREATE, ALTER ON strings_queue.queued_job TO 'strings_queue'@'127.0.0.1';
GRANT SELECT, INSERT, UPDATE, CREATE, ALTER ON strings_queue.queued_job_log TO 'strings_queue'@'127.0.0.1';
GRANT SELECT, INSERT, CREATE ON strings_queue.queued_job_migration TO 'strings_queue'@'127.0.0.1';

-- Part 3, when the tables are there and part 2 was used: what only migrate needs is taken back.
REVOKE INSERT, CREATE, ALTER ON strings_queue.queued_job FROM 'strings_queue'@'127.0.0.1';
REVOKE UPDATE, CREATE, ALTER ON strings_queue.queued_job_log FROM 'strings_queue'@'127.0.0.1';
REVOKE INSERT, CREATE ON strings_queue.queued_job_migration FROM 'strings_queue'@'127.0.0.1';

-- Part 4, when the tables are there: what run, once and check need. The first line is for following the log.
GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'strings_queue'@'127.0.0.1';
GRANT SELECT, UPDATE ON strings_queue.queued_job TO 'strings_queue'@'127.0.0.1';
GRANT SELECT, INSERT ON strings_queue.queued_job_log TO 'strings_queue'@'127.0.0.1';
GRANT SELECT ON strings_queue.queued_job_migration TO 'strings_queue'@'127.0.0.1';
