-- The tables of strings-queue. `strings-queue migrate db.ini` applies this file to an empty database and
-- brings older tables to the same shape.

CREATE TABLE IF NOT EXISTS queued_job (
    -- What the application writes. Only http_method and url are required.
    id               BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    organization_id  BIGINT UNSIGNED NULL,
    http_method      VARCHAR(10)     NOT NULL,
    url              MEDIUMTEXT      NOT NULL,
    body             LONGTEXT        NULL,
    timeout_secs     INT             NOT NULL DEFAULT 60,
    -- What became of it.
    last_started_at  TIMESTAMP       NULL DEFAULT NULL,
    last_finished_at TIMESTAMP       NULL DEFAULT NULL,
    last_response    TEXT            NULL,
    result_code      INT             NULL COMMENT 'NULL not run, 0 success, 1 permanent failure, 2 temporary failure',
    -- How it is retried. The first retry waits retry_delay_secs; later ones longer.
    remaining_retries INT            NOT NULL DEFAULT 5,
    retry_delay_secs INT             NOT NULL DEFAULT 60,
    -- Where it stands.
    state            ENUM('available', 'executing', 'retryable', 'completed', 'discarded', 'cancelled')
                                     NOT NULL DEFAULT 'available',
    run_at           TIMESTAMP(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    attempt          INT UNSIGNED    NOT NULL DEFAULT 0,
    -- Whose it is while it is executing.
    claimed_by       VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NULL,
    claim_token      BIGINT UNSIGNED NULL,
    claim_expires_at TIMESTAMP(6)    NULL DEFAULT NULL,
    created_at       TIMESTAMP(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (id),
    KEY state_run_at (state, run_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS queued_job_log (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    job_id     BIGINT UNSIGNED NOT NULL,
    msg        TEXT            NOT NULL,
    created_at TIMESTAMP(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (id),
    KEY job_id (job_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Which migrations these tables have seen.
CREATE TABLE IF NOT EXISTS queued_job_migration (
    version    INT UNSIGNED NOT NULL,
    applied_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (version)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

INSERT IGNORE INTO queued_job_migration (version) VALUES (1);
